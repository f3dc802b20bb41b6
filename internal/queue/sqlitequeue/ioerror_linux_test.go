package sqlitequeue_test

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"

	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/testenv"
)

// TestDiskFails makes writes fail in a child process with a limit on file sizes:
// callers get the error, the queue refuses everything from then on, and all
// acknowledged messages are in the file.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	const dirEnv = "PICKET_DISK_FAILS_DIR"
	if dir := os.Getenv(dirEnv); dir != "" {
		q, err := sqlitequeue.Open(filepath.Join(dir, "queue.db"), sqlitequeue.Options{Logger: slog.New(slog.DiscardHandler)})
		testenv.Check(t, err)
		signal.Ignore(syscall.SIGXFSZ)
		testenv.Check(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 4 << 20, Max: 4 << 20}))
		n := 0
		for ; n < 1000 && err == nil; n++ {
			err = q.Enqueue(t.Context(), message(fmt.Sprint(n), 50<<10))
		}
		again := q.Enqueue(t.Context(), message("again", 1))
		fmt.Printf("\nacknowledged=%d failed=%t again=%t\n", n-1, err != nil, again != nil && q.Err() != nil)
		return
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestDiskFails$")
	cmd.Env = append(os.Environ(), dirEnv+"="+dir)
	cmd.Stderr = io.Discard
	out, err := cmd.Output()
	testenv.Check(t, err)
	m := regexp.MustCompile(`acknowledged=(\d+) failed=true again=true`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("child: %s", out)
	}
	want, _ := strconv.ParseInt(string(m[1]), 10, 64)
	q := open(t, filepath.Join(dir, "queue.db"), sqlitequeue.Options{})
	s, err := q.Stats(t.Context())
	testenv.Check(t, err)
	// The one that failed may have been written before.
	if want == 0 || s.Pending < want || s.Pending > want+1 {
		t.Errorf("%d messages pending, %d acknowledged", s.Pending, want)
	}
}
