package sqlitequeue_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/testenv"
)

func message(id string, size int) queue.Message {
	return queue.Message{ID: id, Events: 1, Payload: make([]byte, size)}
}

func TestFull(t *testing.T) {
	t.Parallel()
	q := open(t, filepath.Join(t.TempDir(), "queue.db"), sqlitequeue.Options{MaxBytes: 10_000})
	testenv.Check(t, q.Enqueue(t.Context(), message("a", 6000)))
	err := q.Enqueue(t.Context(), message("b", 4001))
	if !errors.Is(err, queue.ErrFull) || !errors.Is(err, picket.ErrUnavailable) {
		t.Errorf("error %v, want ErrFull", err)
	}
	if err := q.Enqueue(t.Context(), message("c", 10_001)); !errors.Is(err, picket.ErrInvalid) {
		t.Errorf("error %v for a message that can never fit, want ErrInvalid", err)
	}
	testenv.Check(t, q.Enqueue(t.Context(), message("d", 4000)))
	ds, err := q.Receive(t.Context(), 1)
	testenv.Check(t, err)
	testenv.Check(t, q.Ack(t.Context(), ds...))
	testenv.Check(t, q.Enqueue(t.Context(), message("e", 6000)))
}

// Dead letters of rejected events take a tenth at most; more are only counted.
func TestRejectedShare(t *testing.T) {
	t.Parallel()
	q := open(t, filepath.Join(t.TempDir(), "queue.db"), sqlitequeue.Options{MaxBytes: 10_000})
	for range 5 {
		testenv.Check(t, q.Enqueue(t.Context(), queue.Message{}, queue.DeadLetter{Events: 1, Cause: "bad", Payload: make([]byte, 397)}))
	}
	s, err := q.Stats(t.Context())
	testenv.Check(t, err)
	if s.Rejected != 5 || s.Dropped != 3 || s.Dead != 2 || s.Bytes != 800 {
		t.Errorf("stats %+v", s)
	}
	if n, err := q.Purge(t.Context()); n != 2 || err != nil {
		t.Errorf("purged %d: %v", n, err)
	}
	testenv.Check(t, q.Enqueue(t.Context(), queue.Message{}, queue.DeadLetter{Events: 1, Payload: make([]byte, 400)}))
	if s, err = q.Stats(t.Context()); err != nil || s.Dropped != 3 {
		t.Errorf("stats %+v: %v", s, err)
	}
}

func TestDiskNearlyFull(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, path, sqlitequeue.Options{MinFreeDisk: 1 << 60})
	if err := q.Enqueue(t.Context(), message("a", 1)); !errors.Is(err, queue.ErrFull) {
		t.Errorf("error %v, want ErrFull", err)
	}
	testenv.Check(t, open(t, path, sqlitequeue.Options{MinFreeDisk: -1}).Enqueue(t.Context(), message("a", 1)))
}

// TestDiskFull fills a small real disk: Enqueue returns ErrFull, loses nothing
// and works again when there is space.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root on Linux to mount a small disk")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: mount: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", dir).Run() })
	q := open(t, filepath.Join(dir, "queue.db"), sqlitequeue.Options{MinFreeDisk: -1, Logger: slog.New(slog.DiscardHandler)})
	n, failed := 0, error(nil)
	for ; n < 1000 && failed == nil; n++ {
		failed = q.Enqueue(t.Context(), message(fmt.Sprint(n), 100<<10))
	}
	if !errors.Is(failed, queue.ErrFull) {
		t.Fatalf("after %d messages: error %v, want ErrFull", n, failed)
	}
	if !errors.Is(failed, queue.ErrDiskFull) || !errors.Is(q.CheckWritable(), queue.ErrDiskFull) || !q.DiskSpace().Low {
		t.Errorf("error %v, %v, space %+v, want ErrDiskFull", failed, q.CheckWritable(), q.DiskSpace())
	}
	s, err := q.Stats(t.Context())
	testenv.Check(t, err)
	if s.Pending != int64(n-1) {
		t.Errorf("%d messages pending, want %d", s.Pending, n-1)
	}
	testenv.Check(t, exec.Command("mount", "-o", "remount,size=64m", dir).Run())
	testenv.Check(t, q.Enqueue(t.Context(), message("more", 100<<10)))
	testenv.Until(t, "the queue notices that there is room", func() bool { return q.CheckWritable() == nil && !q.DiskSpace().Low })
	for i := 0; i < n; {
		ds, err := q.Receive(t.Context(), 100)
		testenv.Check(t, err)
		testenv.Check(t, q.Ack(t.Context(), ds...))
		i += len(ds)
	}
}
