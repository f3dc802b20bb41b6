package sqlitestore_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
)

const crashPathEnv = "PICKET_TEST_CRASH_STORE"

// crashBatch returns batch n of the child: the events of the batch before again,
// and new ones, with a match on each.
func crashBatch(n int) store.Batch {
	b := store.Batch{ID: fmt.Sprint("batch-", n)}
	for i := max(0, (n-1)*crashSize); i < (n+1)*crashSize; i++ {
		ev := simple(i)
		b.Events = append(b.Events, ev)
		b.Matches = append(b.Matches, picket.Match{ID: picket.MatchID("r", ev.Key()), RuleID: "r", EventID: ev.ID, EventNamespace: ev.Namespace(), AgentID: ev.AgentID, Host: ev.Host, Time: ev.Time, Level: 3})
	}
	return b
}

const crashSize = 20

// crashChild saves batches and writes the number of each that is saved to standard
// output, until it is killed.
func crashChild(path string) error {
	s, err := sqlitestore.Open(path, sqlitestore.Options{BlockEvents: 128})
	if err != nil {
		return err
	}
	acked := make(chan int)
	failed := make(chan error, 4)
	for w := range 4 {
		go func() {
			for n := w; ; n += 4 {
				if _, err := s.Save(context.Background(), crashBatch(n)); err != nil {
					failed <- err
					return
				}
				acked <- n
			}
		}()
	}
	for {
		select {
		case n := <-acked:
			if _, err := fmt.Println("acked", n); err != nil {
				return err
			}
		case err := <-failed:
			return err
		}
	}
}

// A process is killed while it saves. Everything that it has reported as saved must
// be stored, once, with its matches.
func TestKill(t *testing.T) {
	if path := os.Getenv(crashPathEnv); path != "" {
		fmt.Fprintln(os.Stderr, crashChild(path))
		os.Exit(1)
	}
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, uint64(os.Getpid())))
	for round := range 4 {
		path := filepath.Join(t.TempDir(), "events.db")
		acked := runAndKill(t, path, 20+rng.IntN(150))
		if round%2 == 1 {
			checkSaved(t, truncated(t, path, rng.Int64N(20_000)), nil, false)
			tearTail(t, path+"-wal", rng.Int64N(3000)) // as a write leaves them that the crash interrupted
		}
		checkSaved(t, path, acked, round%2 == 0)
	}
}

func runAndKill(t *testing.T, path string, after int) []int {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), crashPathEnv+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acked []int
	sc := bufio.NewScanner(out)
	for sc.Scan() {
		var n int
		if _, err := fmt.Sscanf(sc.Text(), "acked %d", &n); err != nil {
			continue
		}
		if acked = append(acked, n); len(acked) == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || len(acked) < after {
		t.Fatalf("the child ended with %v after %d batches", err, len(acked))
	}
	return acked
}

// truncated copies a file and its write-ahead log without the last bytes. The
// commit that they belong to is lost as a whole, and all earlier ones are kept.
func truncated(t *testing.T, path string, cut int64) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "events.db")
	for _, end := range []string{"", "-wal"} {
		b, err := os.ReadFile(path + end)
		if err != nil {
			t.Fatal(err)
		}
		if end != "" {
			b = b[:max(0, int64(len(b))-cut)]
		}
		if err := os.WriteFile(to+end, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// tearTail appends garbage to the write-ahead log, like a torn write.
func tearTail(t *testing.T, wal string, size int64) {
	t.Helper()
	f, err := os.OpenFile(wal, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(strings.Repeat("x", int(size))); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func checkSaved(t *testing.T, path string, acked []int, again bool) {
	t.Helper()
	s := open(t, path, sqlitestore.Options{BlockEvents: 128})
	if again { // saving all of them again changes nothing
		for _, n := range acked {
			if saved, err := s.Save(t.Context(), crashBatch(n)); err != nil || !saved[0].DuplicateBatch {
				t.Fatalf("batch %d is not recognized as a duplicate: %+v, %v", n, saved, err)
			}
		}
	}
	seen := make(map[string]int)
	q := store.EventQuery{Limit: 1000}
	for {
		page, err := s.SearchEvents(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range page.Events {
			seen[ev.ID]++
		}
		if q.Cursor = page.Next; page.Next == "" {
			break
		}
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("event %s is stored %d times", id, n)
		}
	}
	for _, n := range acked {
		for _, ev := range crashBatch(n).Events {
			if seen[ev.ID] == 0 {
				t.Fatalf("batch %d was reported as saved, but event %s is missing", n, ev.ID)
			}
		}
	}
	totals, err := s.Totals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	alerts, err := s.Alerts(t.Context(), store.AlertQuery{})
	if err != nil || len(alerts.Alerts) != 1 {
		t.Fatalf("alerts: %+v, %v; want one", alerts, err)
	}
	if n := int64(len(seen)); totals.Events != n || totals.Stored != n || totals.Matches != n || alerts.Alerts[0].Count != n {
		t.Errorf("%d events, totals %+v, an alert of %d matches: the numbers should be equal", n, totals, alerts.Alerts[0].Count)
	}
}
