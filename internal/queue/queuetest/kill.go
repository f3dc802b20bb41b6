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

// dirEnv tells a process that it is the child of Crash, and where to write.
const dirEnv = "PICKET_QUEUETEST_DIR"

// An Open opens the queue that is kept in dir, and makes it if there is none.
type Open func(dir string) (Queue, error)

// Kill tests that what was enqueued outlives kill -9, and that what was
// leased is delivered again. It starts the test's own binary anew with the
// calling test alone, which must call Kill and nothing before.
func Kill(t *testing.T, open Open) {
	if Child(t, open) {
		return
	}
	dir := t.TempDir()
	log := NewLog()
	for range 4 {
		log.Crash(t, dir)
	}
	q, err := open(dir)
	testenv.Check(t, err)
	defer q.Close()
	if missing := log.Missing(t, q); len(missing) > 0 {
		t.Errorf("%d acknowledged messages are gone, as %s", len(missing), missing[0])
	}
}

// Child does the child's part, and reports true, in a process that Crash
// started; elsewhere it reports false.
func Child(t *testing.T, open Open) bool {
	dir := os.Getenv(dirEnv)
	if dir == "" {
		return false
	}
	q, err := open(dir)
	testenv.Check(t, err)
	var mu sync.Mutex // guards stdout, one line a write
	say := func(what, id string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(os.Stdout, "\n%s %s\n", what, id)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				id := fmt.Sprintf("%d-%d-%d", os.Getpid(), i, n)
				if err := q.Enqueue(context.Background(), queueMessage(id)); err != nil {
					say("error", err.Error())
					return
				}
				say("enqueued", id)
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for n := 0; ; n++ {
				ds, err := q.Receive(context.Background(), 5)
				if err != nil {
					say("error", err.Error())
					return
				}
				if n%2 == 0 {
					continue // leased until the end
				}
				for _, d := range ds {
					say("acking", d.ID)
				}
				if err := q.Ack(context.Background(), ds...); err != nil {
					say("error", err.Error())
					return
				}
			}
		})
	}
	wg.Wait()
	t.Error("the writers gave up")
	return true
}

func queueMessage(id string) queue.Message {
	return sized(id, 1+len(id)*7%50*100)
}

// A Log is what children said that they did: the oracle.
type Log struct {
	enqueued, acking map[string]bool
}

// NewLog makes an empty log.
func NewLog() *Log { return &Log{map[string]bool{}, map[string]bool{}} }

// Crash starts a child on dir, kills it while it writes, and notes what it
// had done.
func (l *Log) Crash(t *testing.T, dir string) {
	t.Helper()
	exe, err := os.Executable()
	testenv.Check(t, err)
	cmd := exec.Command(exe, "-test.run=^"+t.Name()+"$", "-test.v=false")
	cmd.Env = append(os.Environ(), dirEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	testenv.Check(t, err)
	testenv.Check(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		if n == 1500 {
			testenv.Check(t, cmd.Process.Kill())
		}
		what, id, _ := strings.Cut(lines.Text(), " ")
		switch what {
		case "enqueued":
			l.enqueued[id] = true
		case "acking":
			l.acking[id] = true
		case "error":
			t.Fatalf("child: %s", id)
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child ended by itself")
	}
}

// Missing drains q and returns which messages are not there though their
// enqueuing was acknowledged. It fails t if one is damaged.
func (l *Log) Missing(t *testing.T, q Queue) []string {
	t.Helper()
	found := map[string]bool{}
	testenv.Until(t, "the queue is empty", func() bool {
		s, err := q.Stats(t.Context())
		testenv.Check(t, err)
		if s.Pending+s.Leased == 0 {
			return true
		}
		// What waits may become a dead letter instead of being delivered.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ds, err := q.Receive(ctx, 100)
		if err != nil && ctx.Err() == nil {
			t.Fatal(err)
		}
		for _, d := range ds {
			if !bytes.Equal(d.Payload, queueMessage(d.ID).Payload) {
				t.Errorf("message %s is damaged", d.ID)
			}
			if found[d.ID] {
				t.Errorf("message %s is there twice", d.ID)
			}
			found[d.ID] = true
		}
		testenv.Check(t, q.Ack(t.Context(), ds...)) // those that many children held are delivered alone
		return false
	})
	letters, err := q.DeadLetters(t.Context(), 0, 1000)
	testenv.Check(t, err)
	for _, dl := range letters { // lost by too many children
		b, err := picket.DecodeBatch(dl.Payload)
		testenv.Check(t, err)
		found[b.ID] = true
	}
	var missing []string
	for id := range l.enqueued {
		if !found[id] && !l.acking[id] {
			missing = append(missing, id)
		}
	}
	return missing
}
