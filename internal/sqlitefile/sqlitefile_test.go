package sqlitefile

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite" // the driver

	"github.com/picket-edr/picket/internal/testenv"
)

// The rows that SQLite wrote are read with the same values, from the file and from its
// log, and rows that were deleted are not.
func TestRows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	db, err := sql.Open("sqlite", path)
	testenv.Check(t, err)
	defer db.Close()
	db.SetMaxOpenConns(1)
	exec := func(query string, args ...any) {
		t.Helper()
		_, err := db.Exec(query, args...)
		testenv.Check(t, err)
	}
	exec("PRAGMA page_size = 4096")
	exec("PRAGMA auto_vacuum = INCREMENTAL")
	exec("PRAGMA journal_mode = WAL")
	exec("CREATE TABLE x (id INTEGER PRIMARY KEY, a, b, c)")
	want := make(map[int64][]any)
	add := func(id int64, values ...any) {
		exec("INSERT INTO x VALUES (?, ?, ?, ?)", append([]any{id}, values...)...)
		want[id] = append([]any{nil}, values...)
	}
	add(1, int64(0), int64(1), nil)
	add(-5, int64(-1), int64(127), int64(-129))
	add(1<<40, int64(1<<20), int64(1<<40), int64(-1<<62))
	add(7, 1.5, "text", []byte("bytes"))
	for i := range int64(60) { // some with overflow pages
		add(100+i, "row", fmt.Sprint(i), []byte(strings.Repeat("x", int(i*i*i%20_000))))
		if i == 30 {
			exec("PRAGMA wal_checkpoint(TRUNCATE)")
		}
	}
	exec("DELETE FROM x WHERE id BETWEEN 110 AND 130")
	for id := int64(110); id <= 130; id++ {
		delete(want, id)
	}
	for _, scope := range []Scope{BeforeDamage, AllFrames} {
		f, err := Open(path, 4096, scope)
		testenv.Check(t, err)
		got := make(map[int64][]any)
		for row, err := range f.Rows() {
			testenv.Check(t, err)
			if len(row.Values) == 4 { // else one of the schema
				got[row.ID] = row.Values
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
		if f.DamagedFrames() != 0 {
			t.Errorf("%d damaged frames", f.DamagedFrames())
		}
		testenv.Check(t, f.Close())
	}
}

// No bytes make the parser of a row panic, or return more than they are.
func FuzzRow(f *testing.F) {
	f.Add([]byte("\x07\x01\x03\x01\x17hello"), 0)
	f.Add([]byte("\x88\x07\x01\x03\x00\x8f\xff"), 3)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		page := make([]byte, 512)
		copy(page[8:], b)
		file := &File{pageBytes: len(page), pages: 3}
		row, _ := file.row(page, at)
		size := 0
		for _, v := range row.Values {
			switch v := v.(type) {
			case string:
				size += len(v)
			case []byte:
				size += len(v)
			}
		}
		if size > len(page) {
			t.Errorf("%d bytes of values", size)
		}
		for range leafCells(page, 1) {
		}
	})
}
