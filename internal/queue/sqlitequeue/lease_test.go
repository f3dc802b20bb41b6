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
	"github.com/picket-edr/picket/internal/testenv"
)

// Two queues on one file act like two processes: a message enqueued by one is
// delivered by the other.
func TestTwoQueuesOnOneFile(t *testing.T) {
	t.Parallel()
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
	testenv.Check(t, server.Enqueue(t.Context(), message("a", 1)))
	if r := <-got; r.id != "a" || r.err != nil {
		t.Fatalf("received %+v", r)
	}
	s, err := server.Stats(t.Context())
	testenv.Check(t, err)
	if s.Pending+s.Leased != 0 {
		t.Errorf("stats %+v", s)
	}
}

// Messages leased by a queue that is closed are delivered again at once.
func TestCloseReturnsMessages(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, path, sqlitequeue.Options{})
	testenv.Check(t, q.Enqueue(t.Context(), message("a", 1)))
	_, err := q.Receive(t.Context(), 1)
	testenv.Check(t, err)
	testenv.Check(t, q.Close())
	ds, err := open(t, path, sqlitequeue.Options{}).Receive(t.Context(), 1)
	testenv.Check(t, err)
	if ds[0].ID != "a" || ds[0].Attempt != 2 {
		t.Errorf("received %+v", ds[0])
	}
}

// TestLeasedByOtherProcess: a running process keeps its messages after the lease
// time, and another receives them once the process has been killed.
func TestLeasedByOtherProcess(t *testing.T) {
	t.Parallel()
	const dirEnv, lease = "PICKET_LEASE_DIR", time.Second
	o := sqlitequeue.Options{Lease: lease}
	if dir := os.Getenv(dirEnv); dir != "" {
		q := open(t, filepath.Join(dir, "queue.db"), o)
		ds, err := q.Receive(t.Context(), 1)
		testenv.Check(t, err)
		fmt.Printf("\nleased %s\n", ds[0].ID)
		<-t.Context().Done()
		return
	}
	dir := t.TempDir()
	q := open(t, filepath.Join(dir, "queue.db"), o)
	testenv.Check(t, q.Enqueue(t.Context(), message("a", 1)))
	cmd := exec.Command(os.Args[0], "-test.run=^TestLeasedByOtherProcess$")
	cmd.Env = append(os.Environ(), dirEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	testenv.Check(t, err)
	testenv.Check(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "leased a") {
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*lease)
	defer cancel()
	if ds, err := q.Receive(ctx, 1); err == nil {
		t.Fatalf("received %+v, which another process has leased", ds)
	}
	testenv.Check(t, cmd.Process.Kill())
	ds, err := q.Receive(t.Context(), 1)
	testenv.Check(t, err)
	if ds[0].ID != "a" || ds[0].Attempt != 2 {
		t.Errorf("received %+v", ds[0])
	}
}
