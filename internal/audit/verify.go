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
// intact chain may begin after entries that were pruned.
func Verify(ctx context.Context, r Reader) (Verification, error) {
	var v Verification
	var next *store.AuditEntry // the entry after the one that is checked
	q := store.AuditQuery{Limit: verifyPageEntries}
	for {
		page, err := r.AuditEntries(ctx, q)
		if err != nil {
			return v, err
		}
		for i := range page {
			e := &page[i]
			if next == nil {
				v.Head = e.Hash
			}
			if v.Problem = chainProblem(e, next); v.Problem != "" {
				return v, nil
			}
			if e.Hash == "" {
				v.Unchained++
			} else {
				v.Entries++
			}
			next = e
		}
		if len(page) < verifyPageEntries {
			return v, nil
		}
		q.Before = next.N
	}
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
