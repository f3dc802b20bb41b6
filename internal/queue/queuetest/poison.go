package queuetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/testenv"
)

// poisonedBatchID is the ID of the batch that kills the process.
const poisonedBatchID = "poisoned"

// RunPoisonTest tests that a message which kills every process that receives it is
// isolated and then becomes a dead letter, and that all others are processed. It
// runs the test binary with only the calling test, which must do nothing before it
// calls RunPoisonTest.
func RunPoisonTest(t *testing.T, open Open) {
	if dir := os.Getenv(childDirEnv); dir != "" {
		workUntilEmpty(t, dir, open)
		return
	}
	dir := t.TempDir()
	q, err := open(dir)
	testenv.Check(t, err)
	const messages = 60
	for i := range messages {
		id := fmt.Sprint("m", i)
		if i == messages/2 {
			id = poisonedBatchID
		}
		enqueue(t, q, message(id, 1))
	}
	testenv.Check(t, q.Close())

	processed := map[string]bool{}
	deaths := 0
	for deaths <= queue.MaxLost && workInChild(t, dir, processed) {
		deaths++
	}
	if deaths != queue.MaxLost {
		t.Errorf("%d processes died, want %d", deaths, queue.MaxLost)
	}
	if len(processed) != messages-1 {
		t.Errorf("%d messages were processed, want all %d others", len(processed), messages-1)
	}
	q, err = open(dir)
	testenv.Check(t, err)
	defer q.Close()
	wantStats(t, q, queue.Stats{Dead: 1, Accepted: messages, Failed: 1})
	page, err := q.DeadLetters(t.Context(), 0, 10)
	deadLetters := page.DeadLetters
	testenv.Check(t, err)
	for _, l := range deadLetters {
		b, err := picket.DecodeBatch(l.Payload)
		testenv.Check(t, err)
		if diff := cmp.Diff(batch(poisonedBatchID, 1).Events, b.Events, cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "Received" }, cmp.Ignore())); diff != "" {
			t.Errorf("events of the dead letter (-want +got):\n%s", diff)
		}
		if l.Reason != queue.Failed || l.Events != 1 || l.Cause != "its worker was lost 4 times" || l.Time.IsZero() {
			t.Errorf("dead letter %+v", l)
		}
	}
}

// workInChild runs a child until the queue is empty and adds the messages that it
// processed. It reports whether the child died before that.
func workInChild(t *testing.T, dir string, processed map[string]bool) (died bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v=false")
	cmd.Env = append(os.Environ(), childDirEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	testenv.Check(t, err)
	testenv.Check(t, cmd.Start())
	for lines := bufio.NewScanner(out); lines.Scan(); {
		switch what, text, _ := strings.Cut(lines.Text(), " "); what {
		case "processed":
			for id := range strings.FieldsSeq(text) {
				processed[id] = true
			}
		case "error":
			t.Errorf("child: %s", text)
		}
	}
	err = cmd.Wait()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if err != nil && !ok || ok && exit.ExitCode() > 0 {
		t.Fatalf("child: %v", err)
	}
	return err != nil
}

// workUntilEmpty receives messages in several goroutines until the queue is empty.
// The poisoned one kills the process.
func workUntilEmpty(t *testing.T, dir string, open Open) {
	q, err := open(dir)
	testenv.Check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := &poisonWorker{q: q}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				ds, err := q.Receive(ctx, 10)
				if err == nil {
					err = w.process(ds)
				}
				if err != nil && ctx.Err() == nil {
					w.reportLine("error", err.Error())
					return
				}
			}
		})
	}
	testenv.Until(t, "the queue is empty", func() bool {
		s, err := q.Stats(ctx)
		testenv.Check(t, err)
		return s.Pending+s.Leased == 0
	})
	cancel()
	wg.Wait()
	testenv.Check(t, q.Close())
}

type poisonWorker struct {
	q        Queue
	mu       sync.Mutex // guards what follows, and standard output
	leased   int
	isolated bool // one of them was delivered as isolated
}

func (w *poisonWorker) reportLine(what string, words ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Printf("\n%s %s\n", what, strings.Join(words, " "))
}

func (w *poisonWorker) process(ds []queue.Delivery) error {
	w.mu.Lock()
	w.leased += len(ds)
	leased, beside := w.leased, w.isolated
	for _, d := range ds {
		w.isolated = w.isolated || d.Lost >= queue.IsolateAfterLost
	}
	w.mu.Unlock()
	if beside {
		w.reportLine("error", fmt.Sprintf("message %s is delivered beside an isolated one", ds[0].ID))
	}
	var ids []string
	poison := false
	if d := ds[0]; d.Lost >= queue.MaxLost {
		if len(ds) > 1 {
			w.reportLine("error", fmt.Sprintf("message %s is delivered with %d others", d.ID, len(ds)-1))
		}
		w.subtractLeased(1)
		return w.q.Bury(context.Background(), d, queue.LostDeadLetter(d))
	}
	for _, d := range ds {
		if d.Lost >= queue.IsolateAfterLost && leased > 1 {
			w.reportLine("error", fmt.Sprintf("message %s, lost %d times, is delivered beside %d others", d.ID, d.Lost, leased-1))
		}
		b, err := picket.DecodeBatch(d.Payload)
		if err != nil {
			return err
		}
		for _, e := range b.Events {
			id, _, _ := strings.Cut(e.ID, "/")
			ids = append(ids, id)
			poison = poison || id == poisonedBatchID
		}
	}
	if poison {
		p, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = p.Kill()
		}
		if err != nil {
			return err
		}
		select {} // until the signal arrives
	}
	w.reportLine("processed", ids...)
	w.subtractLeased(len(ds))
	return w.q.Ack(context.Background(), ds...)
}

// subtractLeased must be called before deliveries are settled, after which others may be
// delivered.
func (w *poisonWorker) subtractLeased(deliveries int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leased -= deliveries
	w.isolated = false
}
