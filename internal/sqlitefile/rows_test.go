package sqlitefile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/internal/sqlitefile"
	"github.com/picket-edr/picket/internal/testenv"
)

// The rows that SQLite wrote are read with the same values, from the file and from its
// log, and rows that were deleted are not.
func TestRows(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	db := open(t, path, "page_size(4096)", "auto_vacuum(incremental)", "journal_mode(wal)")
	exec(t, db, "CREATE TABLE x (id INTEGER PRIMARY KEY, a, b, c)")
	want := make(map[int64][]any)
	add := func(id int64, values ...any) {
		exec(t, db, "INSERT INTO x VALUES (?, ?, ?, ?)", append([]any{id}, values...)...)
		want[id] = append([]any{nil}, values...)
	}
	add(1, int64(0), int64(1), nil)
	add(-5, int64(-1), int64(127), int64(-129))
	add(1<<40, int64(1<<20), int64(1<<40), int64(-1<<62))
	add(7, 1.5, "text", []byte("bytes"))
	for i := range int64(60) { // some with overflow pages
		add(100+i, "row", fmt.Sprint(i), []byte(strings.Repeat("x", int(i*i*i%20_000))))
		if i == 30 {
			exec(t, db, "PRAGMA wal_checkpoint(TRUNCATE)")
		}
	}
	exec(t, db, "DELETE FROM x WHERE id BETWEEN 110 AND 130")
	for id := int64(110); id <= 130; id++ {
		delete(want, id)
	}
	rows := func(path string, scope sqlitefile.LogScope) (map[int64][]any, int) {
		r, err := sqlitefile.OpenRows(path, 4096, scope)
		testenv.Check(t, err)
		defer r.Close()
		got := make(map[int64][]any)
		for row, err := range r.RowsOfAllTables() {
			testenv.Check(t, err)
			if len(row.Values) == 4 { // else one of the schema
				got[row.ID] = row.Values
			}
		}
		return got, r.DamagedFrames()
	}
	for _, scope := range []sqlitefile.LogScope{sqlitefile.BeforeDamage, sqlitefile.AllFrames} {
		got, damaged := rows(path, scope)
		if diff := cmp.Diff(want, got); diff != "" || damaged != 0 {
			t.Errorf("%d damaged frames, rows (-want +got):\n%s", damaged, diff)
		}
	}

	// A damaged frame costs SQLite all transactions after it, but here only what is in it.
	damagedPath := filepath.Join(t.TempDir(), "b.db")
	for _, ext := range []string{"", "-wal"} {
		content, err := os.ReadFile(path + ext)
		testenv.Check(t, err)
		if ext == "-wal" {
			content[32+24+2000] ^= 1
		}
		testenv.Check(t, os.WriteFile(damagedPath+ext, content, 0o600))
	}
	before, damaged := rows(damagedPath, sqlitefile.BeforeDamage)
	if damaged != 1 || before[159] != nil {
		t.Errorf("%d damaged frames, last row %v", damaged, before[159])
	}
	after, damaged := rows(damagedPath, sqlitefile.AllFrames)
	if diff := cmp.Diff(want, after); diff != "" || damaged != 1 {
		t.Errorf("%d damaged frames, rows (-want +got):\n%s", damaged, diff)
	}
}

// No content of a file makes the reader panic.
func FuzzRows(f *testing.F) {
	path := filepath.Join(f.TempDir(), "a.db")
	f.Add([]byte("\x0d\x00\x00\x00\x01\x01\x00\x00\x00\x20\x07\x01\x03\x01\x17hello"), []byte{}, 20)
	f.Add([]byte("SQLite format 3\x00"), []byte("\x37\x7f\x06\x82\x00\x2d\xe2\x18\x00\x00\x02\x00"), 600)
	f.Fuzz(func(t *testing.T, file, log []byte, at int) {
		content := make([]byte, 3*512)
		if at >= 0 && at < len(content) {
			copy(content[at:], file)
		}
		testenv.Check(t, os.WriteFile(path, content, 0o600))
		testenv.Check(t, os.WriteFile(path+"-wal", log, 0o600))
		r, err := sqlitefile.OpenRows(path, 512, sqlitefile.AllFrames)
		if err != nil {
			return
		}
		defer r.Close()
		for range r.RowsOfAllTables() {
		}
	})
}
