package queuetest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/testenv"
)

// childDirEnv tells a process that it is a child, and where its queue is.
const childDirEnv = "PICKET_QUEUETEST_DIR"

// An Open opens the queue in dir, and creates it if it does not exist.
type Open func(dir string) (Queue, error)

// RunKillTest tests that enqueued messages survive kill -9, and that leased ones are
// delivered again. It runs the test binary with only the calling test, which must
// do nothing before it calls RunKillTest.
func RunKillTest(t *testing.T, open Open) {
	if RunIfChild(t, open) {
		return
	}
	dir := t.TempDir()
	reports := NewChildReports()
	for range 4 {
		reports.RunAndKillChild(t, dir)
	}
	q, err := open(dir)
	testenv.Check(t, err)
	defer q.Close()
	if missing := reports.DrainMissing(t, q); len(missing) > 0 {
		t.Errorf("%d acknowledged messages are gone, as %s", len(missing), missing[0])
	}
}

// RunIfChild enqueues, receives and acks messages until the process is killed, if
// RunAndKillChild started it. Otherwise it returns false.
func RunIfChild(t *testing.T, open Open) bool {
	dir := os.Getenv(childDirEnv)
	if dir == "" {
		return false
	}
	q, err := open(dir)
	testenv.Check(t, err)
	var mu sync.Mutex // guards standard output
	report := func(what, id string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(os.Stdout, "\n%s %s\n", what, id)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				id := fmt.Sprintf("%d-%d-%d", os.Getpid(), i, n)
				if err := q.Enqueue(context.Background(), messageSizedByID(id)); err != nil {
					report("error", err.Error())
					return
				}
				report("enqueued", id)
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for n := 0; ; n++ {
				ds, err := q.Receive(context.Background(), 5)
				if err != nil {
					report("error", err.Error())
					return
				}
				if n%2 == 0 {
					continue // leased until the process is killed
				}
				for _, d := range ds {
					report("acking", d.ID)
				}
				if err := q.Ack(context.Background(), ds...); err != nil {
					report("error", err.Error())
					return
				}
			}
		})
	}
	wg.Wait()
	t.Error("the writers gave up")
	return true
}

func messageSizedByID(id string) queue.Message {
	return messageOfSize(id, 1+len(id)*7%50*100)
}

// ChildReports are the messages that children reported as enqueued, and as about to
// be acked.
type ChildReports struct {
	enqueued, acking map[string]bool
}

// NewChildReports returns no reports.
func NewChildReports() *ChildReports { return &ChildReports{map[string]bool{}, map[string]bool{}} }

// killAfterLines is how many lines of a child are read before it is killed.
const killAfterLines = 500

// RunAndKillChild starts a child with the queue in dir, kills it after a while, and adds
// what it reported.
func (c *ChildReports) RunAndKillChild(t *testing.T, dir string) {
	t.Helper()
	exe, err := os.Executable()
	testenv.Check(t, err)
	cmd := exec.Command(exe, "-test.run=^"+t.Name()+"$", "-test.v=false")
	cmd.Env = append(os.Environ(), childDirEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	testenv.Check(t, err)
	testenv.Check(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		if n == killAfterLines {
			testenv.Check(t, cmd.Process.Kill())
		}
		what, id, _ := strings.Cut(lines.Text(), " ")
		switch what {
		case "enqueued":
			c.enqueued[id] = true
		case "acking":
			c.acking[id] = true
		case "error":
			t.Fatalf("child: %s", id)
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child was not killed")
	}
}

// DrainMissing empties q and returns the messages that were enqueued but are not in it.
// It fails the test if one is damaged.
func (c *ChildReports) DrainMissing(t *testing.T, q Queue) []string {
	t.Helper()
	found := map[string]bool{}
	lost := map[string]int{}
	testenv.Until(t, "the queue is empty", func() bool {
		// Waiting messages may become dead letters instead of being delivered.
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		ds, err := q.Receive(ctx, 100)
		if err != nil && ctx.Err() == nil {
			t.Fatal(err)
		}
		if len(ds) == 0 {
			s, err := q.Stats(t.Context())
			testenv.Check(t, err)
			return s.Pending+s.Leased == 0
		}
		for _, d := range ds {
			if !bytes.Equal(d.Payload, messageSizedByID(d.ID).Payload) {
				t.Errorf("message %s is damaged", d.ID)
			}
			if found[d.ID] && d.Lost == lost[d.ID] { // on a stalled machine, a lease can end
				t.Errorf("message %s is there twice", d.ID)
			}
			found[d.ID], lost[d.ID] = true, d.Lost
		}
		testenv.Check(t, q.Ack(t.Context(), ds...)) // a suspect is delivered when nothing else is leased
		return false
	})
	page, err := q.DeadLetters(t.Context(), 0, 1000)
	deadLetters := page.DeadLetters
	testenv.Check(t, err)
	for _, dl := range deadLetters { // lost with too many children
		b, err := picket.DecodeBatch(dl.Payload)
		testenv.Check(t, err)
		found[b.ID] = true
	}
	var missing []string
	for id := range c.enqueued {
		if !found[id] && !c.acking[id] {
			missing = append(missing, id)
		}
	}
	return missing
}
