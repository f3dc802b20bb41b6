package sqlitequeue_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
)

// Two queues on one file stand for two processes: they share the work, and
// one wakes for what the other enqueues.
func TestTwoQueuesOnOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	server, worker := open(t, path, sqlitequeue.Options{}), open(t, path, sqlitequeue.Options{})
	type result struct {
		id  string
		err error
	}
	got := make(chan result, 1)
	go func() {
		ds, err := worker.Receive(t.Context(), 1)
		if err == nil {
			err = worker.Ack(t.Context(), ds...)
		}
		got <- result{ds[0].ID, err}
	}()
	check(t, server.Enqueue(t.Context(), message("a", 1)))
	if r := <-got; r.id != "a" || r.err != nil {
		t.Fatalf("received %+v", r)
	}
	s, err := server.Stats(t.Context())
	check(t, err)
	if s.Pending+s.Leased != 0 {
		t.Errorf("stats %+v", s)
	}
}

// What a queue holds when it is closed is delivered again at once.
func TestCloseGivesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, path, sqlitequeue.Options{})
	check(t, q.Enqueue(t.Context(), message("a", 1)))
	_, err := q.Receive(t.Context(), 1)
	check(t, err)
	check(t, q.Close())
	ds, err := open(t, path, sqlitequeue.Options{}).Receive(t.Context(), 1)
	check(t, err)
	if ds[0].ID != "a" || ds[0].Attempt != 2 {
		t.Errorf("received %+v", ds[0])
	}
}

// TestHeldByAnother: what a living process holds stays with it past the
// lease, and is delivered to another once the process is killed.
func TestHeldByAnother(t *testing.T) {
	const dirEnv, lease = "PICKET_LEASE_DIR", 100 * time.Millisecond
	o := sqlitequeue.Options{Lease: lease}
	if dir := os.Getenv(dirEnv); dir != "" {
		q := open(t, filepath.Join(dir, "queue.db"), o)
		ds, err := q.Receive(t.Context(), 1)
		check(t, err)
		fmt.Printf("\nholding %s\n", ds[0].ID)
		<-t.Context().Done()
		return
	}
	dir := t.TempDir()
	q := open(t, filepath.Join(dir, "queue.db"), o)
	check(t, q.Enqueue(t.Context(), message("a", 1)))
	cmd := exec.Command(os.Args[0], "-test.run=^TestHeldByAnother$", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), dirEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "holding a") {
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*lease)
	defer cancel()
	if ds, err := q.Receive(ctx, 1); err == nil {
		t.Fatalf("received %+v, which another process holds", ds)
	}
	check(t, cmd.Process.Kill())
	ds, err := q.Receive(t.Context(), 1)
	check(t, err)
	if ds[0].ID != "a" || ds[0].Attempt != 2 {
		t.Errorf("received %+v", ds[0])
	}
}
