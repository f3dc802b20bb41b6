package sqlitefile_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/sqlitefile"
	"github.com/picket-edr/picket/internal/testenv"
)

// salvage salvages a file and returns the rows of the new one.
func salvage(t *testing.T, path, template string) (map[string]bool, *sqlitefile.SalvageReport) {
	t.Helper()
	to := filepath.Join(t.TempDir(), "new.db")
	report, err := sqlitefile.Salvage(context.Background(), path, to, template)
	testenv.Check(t, err)
	db := open(t, to)
	got, err := read(db)
	testenv.Check(t, err)
	var check string
	testenv.Check(t, db.QueryRow("PRAGMA integrity_check").Scan(&check))
	if check != "ok" {
		t.Errorf("integrity: %s", check)
	}
	return lines(got), report
}

func lines(text string) map[string]bool {
	set := make(map[string]bool)
	for line := range strings.Lines(text) {
		set[line] = true
	}
	return set
}

// Of a file without damage all is copied, also what is still in the write-ahead log.
func TestSalvageWhole(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	want := fill(t, path, "auto_vacuum(incremental)")
	db := open(t, path)
	exec(t, db, "PRAGMA wal_autocheckpoint = 0")
	exec(t, db, "INSERT INTO t VALUES (1000, 'from the log', 'x')")
	exec(t, db, "PRAGMA user_version = 7")
	got, report := salvage(t, path, "")
	if n := len(lines(want)) + 1; len(got) != n || !got["1000from the logx\n"] {
		t.Errorf("%d rows of %d", len(got), n)
	}
	if report.Rows["t"] != rowCount+1 || report.Rows["w"] != rowCount || report.DamagedPages != 0 || len(report.Incomplete) != 0 {
		t.Errorf("report %+v", report)
	}
}

// Only the rows on damaged pages are lost, and none is changed, whichever pages those are.
func TestSalvageDamagedPages(t *testing.T) {
	t.Parallel()
	const pageSize = 4096
	path, template := filepath.Join(t.TempDir(), "a.db"), filepath.Join(t.TempDir(), "template.db")
	want := lines(fill(t, path, "auto_vacuum(incremental)"))
	fill(t, template, "auto_vacuum(incremental)")
	content, err := os.ReadFile(path)
	testenv.Check(t, err)
	random := rand.New(rand.NewPCG(1, 2))
	pages := len(content) / pageSize
	for page := range pages {
		if page > 8 && page%5 != 0 {
			continue
		}
		damaged := append([]byte(nil), content...)
		for i := range 100 {
			damaged[page*pageSize+random.IntN(pageSize)] ^= byte(i + 1)
		}
		if page%2 == 0 {
			clear(damaged[page*pageSize:][:pageSize])
		}
		testenv.Check(t, os.WriteFile(path, damaged, 0o600))
		got, report := salvage(t, path, template)
		for line := range got {
			if !want[line] {
				t.Fatalf("page %d: row that was not written: %.80q", page+1, line)
			}
		}
		if lost := len(want) - len(got); lost > 40 {
			t.Errorf("page %d: %d rows of %d lost", page+1, lost, len(want))
		} else if lost > 0 && (report.DamagedPages != 1 || len(report.Incomplete) != 1) {
			t.Errorf("page %d: %d rows lost; report %+v", page+1, lost, report)
		}
	}
}

// Of a file that was cut, what is before the cut is copied.
func TestSalvageCutFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	want := lines(fill(t, path, "auto_vacuum(incremental)"))
	content, err := os.ReadFile(path)
	testenv.Check(t, err)
	for _, share := range []float64{0.9, 0.5, 0.25} {
		testenv.Check(t, os.WriteFile(path, content[:int(share*float64(len(content)))], 0o600))
		got, _ := salvage(t, path, "")
		for line := range got {
			if !want[line] {
				t.Fatalf("%v: row that was not written: %.80q", share, line)
			}
		}
		if float64(len(got)) < share*float64(len(want))/2 {
			t.Errorf("%v: %d rows of %d", share, len(got), len(want))
		}
	}
}
