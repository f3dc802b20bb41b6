package sqlitefile_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/sqlitefile"
	"github.com/picket-edr/picket/internal/testenv"
)

const rowCount = 400

// fill makes a file with rows of which some have overflow pages, and returns what it
// should be read as.
func fill(t *testing.T, path string, pragmas ...string) string {
	t.Helper()
	db := open(t, path, append(pragmas, "journal_mode(wal)")...)
	exec(t, db, "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, data BLOB NOT NULL)")
	exec(t, db, "CREATE TABLE w (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID")
	for i := range rowCount {
		size := i % 50
		if i%7 == 0 {
			size = 3000 + 100*i
		}
		exec(t, db, "INSERT INTO t VALUES (?, ?, ?)", i, fmt.Sprintf("name %d", i), []byte(strings.Repeat(string(rune('a'+i%26)), size)))
		exec(t, db, "INSERT INTO w VALUES (?, ?)", fmt.Sprintf("%d name %s", i, strings.Repeat("x", i)), i)
	}
	want, err := read(db)
	testenv.Check(t, err)
	testenv.Check(t, db.Close())
	return want
}

func open(t *testing.T, path string, pragmas ...string) *sql.DB {
	t.Helper()
	db, err := sqlitefile.Open(path, pragmas...)
	testenv.Check(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	return db
}

func exec(t *testing.T, db *sql.DB, query string, args ...any) {
	t.Helper()
	_, err := db.Exec(query, args...)
	testenv.Check(t, err)
}

// read returns all rows as text.
func read(db *sql.DB) (string, error) {
	var out strings.Builder
	for _, query := range []string{"SELECT id || name || data FROM t ORDER BY id", "SELECT name || n FROM w ORDER BY name"} {
		rows, err := db.Query(query)
		if err != nil {
			return "", err
		}
		defer rows.Close()
		for rows.Next() {
			var row string
			if err := rows.Scan(&row); err != nil {
				return "", err
			}
			out.WriteString(row + "\n")
		}
		if err := rows.Err(); err != nil {
			return "", err
		}
	}
	return out.String(), nil
}

// A file with one changed bit anywhere reads as before.
func TestChangedBitIsCorrected(t *testing.T) {
	t.Parallel()
	for _, pragmas := range [][]string{{"auto_vacuum(incremental)"}, {"page_size(16384)"}} {
		path := filepath.Join(t.TempDir(), "a.db")
		want := fill(t, path, pragmas...)
		content, err := os.ReadFile(path)
		testenv.Check(t, err)
		random := rand.New(rand.NewPCG(1, 2))
		for i := range 100 {
			bit := random.IntN(len(content) * 8)
			if i < 40 { // of the header
				bit = i * 8
			}
			content[bit/8] ^= 1 << (bit % 8)
			testenv.Check(t, os.WriteFile(path, content, 0o600))
			content[bit/8] ^= 1 << (bit % 8)
			db := open(t, path)
			got, err := read(db)
			testenv.Check(t, err)
			if got != want {
				t.Fatalf("bit %d: other rows", bit)
			}
			db.Close()
			if r, err := sqlitefile.CheckPages(t.Context(), path); err != nil || r.Corrected != 1 || r.Damaged > 0 {
				t.Errorf("bit %d: check: %+v, %v", bit, r, err)
			}
		}
	}
}

// More damage than a bit is an error or changes nothing, wherever it is.
func TestDamageIsNoticed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	want := fill(t, path, "auto_vacuum(incremental)")
	content, err := os.ReadFile(path)
	testenv.Check(t, err)
	random := rand.New(rand.NewPCG(1, 2))
	failed := 0
	for range 100 {
		damaged := append([]byte(nil), content...)
		from := random.IntN(len(damaged))
		switch to := min(len(damaged), from+1+random.IntN(6000)); random.IntN(4) {
		case 0:
			damaged = damaged[:max(from, 200)]
		case 1:
			clear(damaged[from:to])
		case 2:
			for i := from; i < to; i++ {
				damaged[i] = byte(random.Int())
			}
		default:
			copy(damaged[from:to], damaged[random.IntN(from+1):])
		}
		testenv.Check(t, os.WriteFile(path, damaged, 0o600))
		db := open(t, path)
		got, err := read(db)
		if err == nil && got != want {
			t.Fatal("other rows without an error")
		}
		if err != nil {
			failed++
			if !sqlitefile.IsDamage(err) {
				t.Errorf("not damage: %v", err)
			}
		}
		db.Close()
	}
	if failed < 50 {
		t.Errorf("%d of 100 reads failed", failed)
	}
}

// A file without checksums, and one that SQLite itself vacuums, are read and written.
func TestFileWithoutChecksums(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	db, err := sql.Open("sqlite", path)
	testenv.Check(t, err)
	exec(t, db, "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, data BLOB)")
	exec(t, db, "CREATE TABLE w (name TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID")
	testenv.Check(t, db.Close())
	checked := open(t, path)
	exec(t, checked, "INSERT INTO t VALUES (1, 'a', 'b')")
	exec(t, checked, "VACUUM") // adds checksums
	got, err := read(checked)
	testenv.Check(t, err)
	testenv.Check(t, checked.Close())
	content, err := os.ReadFile(path)
	testenv.Check(t, err)
	content[len(content)-20] ^= 4
	testenv.Check(t, os.WriteFile(path, content, 0o600))
	again, err := read(open(t, path))
	testenv.Check(t, err)
	if got != again || got != "1ab\n" {
		t.Errorf("rows %q, then %q", got, again)
	}
}
