package audit_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/internal/audit"
	"github.com/picket-edr/picket/internal/store"
)

// entries is a store that keeps entries in memory.
type entries []store.AuditEntry

func (s *entries) AddAuditEntry(_ context.Context, e store.AuditEntry) (store.AuditEntry, error) {
	*s = append(*s, e)
	return e, nil
}

// However many sign-ins are refused, a call records few entries, which count all
// of them.
func TestRefusals(t *testing.T) {
	var s entries
	r := audit.NewRecorder(&s, slog.New(slog.DiscardHandler), time.Now)
	r.FlushSignInRefusals(t.Context())
	r.CountSignInRefusal("ann", "192.0.2.1")
	r.CountSignInRefusal("ann", "192.0.2.1")
	r.CountSignInRefusal("", "192.0.2.1")
	r.FlushSignInRefusals(t.Context())
	var got []string
	for _, e := range s {
		got = append(got, fmt.Sprint(e.Actor, " ", e.Action, " ", e.Object, " ", e.Detail))
	}
	want := []string{"user:ann sign-in.refused 192.0.2.1 2 attempts", "user:unknown sign-in.refused 192.0.2.1 1 attempt"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("entries (-want +got):\n%s", d)
	}

	s = nil
	for i := range 100_000 {
		r.CountSignInRefusal("", fmt.Sprint("address ", i%5000))
	}
	r.FlushSignInRefusals(t.Context())
	if len(s) != 11 {
		t.Errorf("%d entries", len(s))
	}
	total := 0
	for _, e := range s {
		var n int
		if _, err := fmt.Sscan(e.Detail, &n); err != nil {
			t.Error(err)
		}
		total += n
	}
	if total != 100_000 {
		t.Errorf("the entries count %d attempts", total)
	}
}
