package audit

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/picket-edr/picket/internal/auth"
)

// A refused sign-in costs an attacker nothing, so refusals are counted and recorded once
// in refusalFlushInterval: the maxRefusalEntriesPerInterval most frequent pairs of user and
// address have an entry each, and one more sums up the others. maxCountedRefusalKeys bounds
// the pairs counted.
const (
	refusalFlushInterval         = time.Minute
	maxRefusalEntriesPerInterval = 10
	maxCountedRefusalKeys        = 1000
)

// signInRefusalCounts counts refused sign-ins. It is safe for concurrent use.
type signInRefusalCounts struct {
	mu     sync.Mutex
	counts map[userAddr]int
	others int // of pairs beyond maxCountedRefusalKeys
}

type userAddr struct{ user, addr string }

// CountSignInRefusal counts a refused sign-in. user is "" unless there is such a user.
func (r *Recorder) CountSignInRefusal(user, addr string) {
	r.refusals.mu.Lock()
	defer r.refusals.mu.Unlock()
	key := userAddr{user, addr}
	if _, ok := r.refusals.counts[key]; !ok && len(r.refusals.counts) >= maxCountedRefusalKeys {
		r.refusals.others++
		return
	}
	if r.refusals.counts == nil {
		r.refusals.counts = make(map[userAddr]int)
	}
	r.refusals.counts[key]++
}

// Run records refused sign-ins until ctx ends.
func (r *Recorder) Run(ctx context.Context) {
	tick := time.NewTicker(refusalFlushInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			r.FlushSignInRefusals(context.WithoutCancel(ctx))
			return
		case <-tick.C:
			r.FlushSignInRefusals(ctx)
		}
	}
}

// FlushSignInRefusals records the refused sign-ins since its last call.
func (r *Recorder) FlushSignInRefusals(ctx context.Context) {
	r.refusals.mu.Lock()
	counts, others := r.refusals.counts, r.refusals.others
	r.refusals.counts, r.refusals.others = nil, 0
	r.refusals.mu.Unlock()
	pairs := slices.SortedFunc(maps.Keys(counts), func(a, b userAddr) int {
		return cmp.Or(counts[b]-counts[a], cmp.Compare(a.user, b.user), cmp.Compare(a.addr, b.addr))
	})
	for i, p := range pairs {
		if i >= maxRefusalEntriesPerInterval {
			others += counts[p]
			continue
		}
		r.Record(ctx, auth.Identity{Kind: "user", Subject: cmp.Or(p.user, "unknown")}, actionSignInRefused, p.addr, attemptsText(counts[p]))
	}
	if others > 0 {
		r.Record(ctx, auth.Identity{Kind: "user", Subject: "unknown"}, actionSignInRefused, "other addresses", attemptsText(others))
	}
}

const actionSignInRefused = "sign-in.refused"

func attemptsText(n int) string {
	if n == 1 {
		return "1 attempt"
	}
	return fmt.Sprintf("%d attempts", n)
}
