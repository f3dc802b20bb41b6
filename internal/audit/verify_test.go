package audit_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/audit"
	"github.com/picket-edr/picket/internal/sqlitefile"
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
		"empty":             {func(es []store.AuditEntry) []store.AuditEntry { return nil }, "it has no entries"},
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

// Entries that are missing at either end show, whether or not others are written
// afterwards; those that were pruned are not missing.
func TestVerifyEnds(t *testing.T) {
	for _, c := range []struct{ name, forge, want, wantLater string }{
		{"intact", "SELECT 1", "", ""},
		{"emptied", "DELETE FROM audit", "all its entries are missing, 3 to 6", "its oldest entries are missing, 3 to 6"},
		{"newest", "DELETE FROM audit WHERE n > 4", "its newest entries are missing, 5 to 6", "entries between 4 and 7 were deleted or changed"},
		{"oldest", "DELETE FROM audit WHERE n < 5", "its oldest entries are missing, 3 to 4", "its oldest entries are missing, 3 to 4"},
		{"newest replaced", "UPDATE audit SET hash = 'x' WHERE n = 6", "entry 6 was changed", "entry 6 was changed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store.db")
			at := time.Unix(1_800_000_000, 0)
			use := func(f func(*sqlitestore.Store)) {
				s, err := sqlitestore.Open(path, sqlitestore.Options{NoBackground: true})
				testenv.Check(t, err)
				f(s)
				testenv.Check(t, s.Close())
			}
			add := func(s *sqlitestore.Store) {
				_, err := s.AddAuditEntry(t.Context(), audit.NewEntry(at, "user:ann", "sign-in", "", ""))
				testenv.Check(t, err)
				at = at.Add(time.Hour)
			}
			verify := func(s *sqlitestore.Store, want string) {
				v, err := audit.Verify(t.Context(), s)
				testenv.Check(t, err)
				if !strings.Contains(v.Problem, want) || (want == "") != (v.Problem == "") {
					t.Errorf("problem %q, want %q", v.Problem, want)
				}
			}
			use(func(s *sqlitestore.Store) {
				for range 6 {
					add(s)
				}
				_, err := s.PruneAudit(t.Context(), time.Unix(1_800_000_000, 0).Add(2*time.Hour), 100)
				testenv.Check(t, err)
			})
			db, err := sqlitefile.Open(path)
			testenv.Check(t, err)
			_, err = db.Exec(c.forge)
			testenv.Check(t, err)
			testenv.Check(t, db.Close())
			use(func(s *sqlitestore.Store) {
				verify(s, c.want)
				_, err := s.PruneAudit(t.Context(), time.Unix(1_800_000_000, 0).Add(2*time.Hour), 100) // has nothing to delete
				testenv.Check(t, err)
				add(s)
				verify(s, c.wantLater)
			})
		})
	}
}

// A log of which everything was pruned is intact, and continues with the next number.
func TestVerifyAllPruned(t *testing.T) {
	s, err := sqlitestore.Open(filepath.Join(t.TempDir(), "store.db"), sqlitestore.Options{NoBackground: true})
	testenv.Check(t, err)
	defer s.Close()
	for _, want := range []int64{1, 2} {
		e, err := s.AddAuditEntry(t.Context(), audit.NewEntry(time.Now(), "user:ann", "sign-in", "", ""))
		testenv.Check(t, err)
		if e.N != want {
			t.Errorf("entry %d, want %d", e.N, want)
		}
		_, err = s.PruneAudit(t.Context(), time.Now().Add(time.Hour), 100)
		testenv.Check(t, err)
		if v, err := audit.Verify(t.Context(), s); err != nil || v.Problem != "" {
			t.Errorf("%+v, %v", v, err)
		}
	}
}
