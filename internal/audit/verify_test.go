package audit_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/audit"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
	"github.com/picket-edr/picket/internal/testenv"
)

// A forgedLog is an audit log that somebody has changed.
type forgedLog struct {
	audit.Reader
	forge func([]store.AuditEntry) []store.AuditEntry
}

func (l forgedLog) AuditEntries(ctx context.Context, q store.AuditQuery) ([]store.AuditEntry, error) {
	entries, err := l.Reader.AuditEntries(ctx, q)
	return l.forge(entries), err
}

// Every change of an entry, and every deletion but that of the oldest, breaks the
// chain.
func TestVerify(t *testing.T) {
	s, err := sqlitestore.Open(filepath.Join(t.TempDir(), "store.db"), sqlitestore.Options{})
	testenv.Check(t, err)
	defer s.Close()
	head := ""
	for i := range 5 {
		e, err := s.AddAuditEntry(t.Context(), audit.NewEntry(time.Now(), "user:ann", "sign-in", fmt.Sprint(i), strings.Repeat("é", 2000)))
		testenv.Check(t, err)
		if len(e.Detail) > 1<<10 {
			t.Fatalf("a detail of %d bytes", len(e.Detail))
		}
		head = e.Hash
	}
	v, err := audit.Verify(t.Context(), s)
	testenv.Check(t, err)
	if v != (audit.Verification{Entries: 5, Head: head}) {
		t.Errorf("intact: %+v", v)
	}
	rehash := func(e *store.AuditEntry) { e.Hash = e.ChainHash() }
	for name, c := range map[string]struct {
		forge func([]store.AuditEntry) []store.AuditEntry
		want  string
	}{
		"pruned":            {func(es []store.AuditEntry) []store.AuditEntry { return es[:3] }, ""},
		"empty":             {func(es []store.AuditEntry) []store.AuditEntry { return nil }, ""},
		"changed":           {func(es []store.AuditEntry) []store.AuditEntry { es[2].Actor = "user:bob"; return es }, "entry 3 was changed"},
		"time":              {func(es []store.AuditEntry) []store.AuditEntry { es[2].Time = es[2].Time.Add(time.Hour); return es }, "entry 3 was changed"},
		"changed with hash": {func(es []store.AuditEntry) []store.AuditEntry { es[2].Actor = "user:bob"; rehash(&es[2]); return es }, "entries between 3 and 4"},
		"deleted":           {func(es []store.AuditEntry) []store.AuditEntry { return append(es[:1], es[2:]...) }, "entries between 3 and 5"},
		"swapped":           {func(es []store.AuditEntry) []store.AuditEntry { es[1], es[2] = es[2], es[1]; return es }, "entries between"},
		"no hash":           {func(es []store.AuditEntry) []store.AuditEntry { es[0].Hash, es[0].Previous = "", ""; return es }, "entry 5 has no hash"},
	} {
		v, err := audit.Verify(t.Context(), forgedLog{s, c.forge})
		testenv.Check(t, err)
		if !strings.Contains(v.Problem, c.want) || (v.Problem == "") != (c.want == "") {
			t.Errorf("%s: problem %q, want %q", name, v.Problem, c.want)
		}
	}
}
