package audit

import (
	"context"
	"fmt"

	"github.com/picket-edr/picket/internal/store"
)

// A Reader lists audit entries.
type Reader interface {
	AuditEntries(ctx context.Context, q store.AuditQuery) ([]store.AuditEntry, error)
}

// A HeadKeeper is a Reader that also keeps elsewhere which entries its log has.
type HeadKeeper interface {
	// AuditHead returns the zero value if none is recorded.
	AuditHead() (store.AuditHead, error)
}

// A Verification is the result of Verify.
type Verification struct {
	Entries   int64  `json:"entries"`   // whose chain is intact
	Unchained int64  `json:"unchained"` // older ones, of a store that had no chain yet
	Head      string `json:"head"`      // Hash of the newest entry
	// Problem says where the chain is broken, "" if it is not.
	Problem string `json:"problem,omitempty"`
}

// verifyPageEntries is how many entries are read at a time.
const verifyPageEntries = 1000

// Verify checks the chain of the audit log from the newest entry to the oldest. An
// intact chain may begin after entries that were pruned. If r is a HeadKeeper, no entry may
// be missing at either end. A log without entries is not intact, because each store has
// one from its start, unless all were pruned.
func Verify(ctx context.Context, r Reader) (Verification, error) {
	var head store.AuditHead
	if keeper, ok := r.(HeadKeeper); ok {
		var err error
		if head, err = keeper.AuditHead(); err != nil {
			return Verification{}, err
		}
	}
	v, newest, oldest, err := verifyChain(ctx, r, head)
	if err == nil && v.Problem == "" {
		v.Problem = missingEntries(head, newest, oldest)
	}
	return v, err
}

// verifyChain checks each entry against the one after it and against head. newest and
// oldest are 0 in an empty log.
func verifyChain(ctx context.Context, r Reader, head store.AuditHead) (v Verification, newest, oldest int64, err error) {
	var next *store.AuditEntry // the entry after the one that is checked
	q := store.AuditQuery{Limit: verifyPageEntries}
	for {
		page, err := r.AuditEntries(ctx, q)
		if err != nil {
			return v, newest, oldest, err
		}
		for i := range page {
			e := &page[i]
			if next == nil {
				v.Head, newest = e.Hash, e.N
			}
			if v.Problem = chainProblem(e, next); v.Problem == "" && e.N == head.Last && e.Hash != head.Hash {
				v.Problem = fmt.Sprintf("entry %d is not the one that was written", e.N)
			}
			if v.Problem != "" {
				return v, newest, oldest, nil
			}
			if e.Hash == "" {
				v.Unchained++
			} else {
				v.Entries++
			}
			next, oldest = e, e.N
		}
		if len(page) < verifyPageEntries {
			return v, newest, oldest, nil
		}
		q.Before = oldest
	}
}

// missingEntries says which entries are missing at the ends of a log, "" if none is.
func missingEntries(head store.AuditHead, newest, oldest int64) string {
	switch {
	case newest == 0 && head.Last == 0:
		return "it has no entries, not even that of the first start"
	case newest == 0 && head.First <= head.Last:
		return fmt.Sprintf("all its entries are missing, %d to %d", head.First, head.Last)
	case newest < head.Last && newest > 0:
		return fmt.Sprintf("its newest entries are missing, %d to %d", newest+1, head.Last)
	case oldest > head.First && head.First > 0:
		return fmt.Sprintf("its oldest entries are missing, %d to %d", head.First, oldest-1)
	}
	return ""
}

// chainProblem says what is wrong with an entry, given the one after it, "" if nothing is.
func chainProblem(e, next *store.AuditEntry) string {
	switch {
	case e.Hash != "" && e.Hash != e.ChainHash():
		return fmt.Sprintf("entry %d was changed: its hash is not that of what it says", e.N)
	case next != nil && next.Previous != e.Hash && next.Hash != "":
		return fmt.Sprintf("entries between %d and %d were deleted or changed", e.N, next.N)
	case next != nil && next.Hash == "" && e.Hash != "":
		return fmt.Sprintf("entry %d has no hash and comes after one that has", next.N)
	}
	return ""
}
