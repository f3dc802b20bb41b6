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
// in refusalInterval: the maxRefusalEntries most frequent pairs of user and
// address have an entry each, and one more sums up the others. maxRefusals bounds
// the pairs counted.
const (
	refusalInterval   = time.Minute
	maxRefusalEntries = 10
	maxRefusals       = 1000
)

// refusals counts refused sign-ins. It is safe for concurrent use.
type refusals struct {
	mu     sync.Mutex
	counts map[refusal]int
	others int // of pairs beyond maxRefusals
}

type refusal struct{ user, addr string }

// RecordRefusal counts a refused sign-in. user is "" unless there is such a user.
func (r *Recorder) RecordRefusal(user, addr string) {
	r.refusals.mu.Lock()
	defer r.refusals.mu.Unlock()
	key := refusal{user, addr}
	if _, ok := r.refusals.counts[key]; !ok && len(r.refusals.counts) >= maxRefusals {
		r.refusals.others++
		return
	}
	if r.refusals.counts == nil {
		r.refusals.counts = make(map[refusal]int)
	}
	r.refusals.counts[key]++
}

// Run records refused sign-ins until ctx ends.
func (r *Recorder) Run(ctx context.Context) {
	tick := time.NewTicker(refusalInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			r.RecordRefusals(context.WithoutCancel(ctx))
			return
		case <-tick.C:
			r.RecordRefusals(ctx)
		}
	}
}

// RecordRefusals records the refused sign-ins since its last call.
func (r *Recorder) RecordRefusals(ctx context.Context) {
	r.refusals.mu.Lock()
	counts, others := r.refusals.counts, r.refusals.others
	r.refusals.counts, r.refusals.others = nil, 0
	r.refusals.mu.Unlock()
	pairs := slices.SortedFunc(maps.Keys(counts), func(a, b refusal) int {
		return cmp.Or(counts[b]-counts[a], cmp.Compare(a.user, b.user), cmp.Compare(a.addr, b.addr))
	})
	for i, p := range pairs {
		if i >= maxRefusalEntries {
			others += counts[p]
			continue
		}
		r.Record(ctx, auth.Identity{Kind: "user", Subject: cmp.Or(p.user, "unknown")}, actionRefused, p.addr, attempts(counts[p]))
	}
	if others > 0 {
		r.Record(ctx, auth.Identity{Kind: "user", Subject: "unknown"}, actionRefused, "other addresses", attempts(others))
	}
}

const actionRefused = "sign-in.refused"

func attempts(n int) string {
	if n == 1 {
		return "1 attempt"
	}
	return fmt.Sprintf("%d attempts", n)
}
