package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/internal/agent"
	"github.com/picket-edr/picket/internal/testenv"
)

// A logEvent is what the tests check of the event of a line.
type logEvent struct {
	EventID   string `json:"event_id"`
	EventType string `json:"event_type"`
	Host      struct{ Hostname string }
	Path      string `json:"log_path"`
	Truncated bool
	Message   string
}

// A followedLog is a log that a FileSource follows.
type followedLog struct {
	t        *testing.T
	path     string
	events   chan agent.Event
	position agent.Position
	stop     func()
	ids      map[string]bool // of all lines so far
}

// follow follows a log from a position, and returns once lines that are written from then
// on are read.
func follow(t *testing.T, pattern string, from agent.Position) *followedLog {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &followedLog{t: t, path: pattern, events: make(chan agent.Event), ids: map[string]bool{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for e, err := range (&agent.FileSource{Pattern: pattern}).Events(ctx, from) {
			if err != nil {
				t.Error(err)
			}
			select {
			case l.events <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	l.stop = func() { cancel(); <-ended }
	t.Cleanup(l.stop)
	if first := l.next(); first.Data != nil {
		t.Fatalf("the first position comes after %s", first.Data)
	}
	return l
}

// next returns the next event.
func (l *followedLog) next() agent.Event {
	l.t.Helper()
	select {
	case e := <-l.events:
		if e.Position != "" {
			l.position = e.Position
		}
		return e
	case <-time.After(testenv.Timeout):
		l.t.Fatal("no event comes")
		return agent.Event{}
	}
}

// nextLine returns the event of the next line.
func (l *followedLog) nextLine() (e logEvent) {
	l.t.Helper()
	for {
		if event := l.next(); event.Data != nil {
			testenv.Check(l.t, json.Unmarshal(event.Data, &e))
			if l.ids[e.EventID] {
				l.t.Errorf("two lines have the id of %s", event.Data)
			}
			l.ids[e.EventID] = true
			return e
		}
	}
}

// want checks the texts of the next lines, whose order among files does not matter.
func (l *followedLog) want(lines ...string) {
	l.t.Helper()
	var got []string
	for range lines {
		got = append(got, l.nextLine().Message)
	}
	slices.Sort(got)
	slices.Sort(lines)
	if diff := cmp.Diff(lines, got); diff != "" {
		l.t.Fatalf("lines (-want +got):\n%s", diff)
	}
}

// write appends to a file.
func write(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	testenv.Check(t, err)
	_, err = f.WriteString(text)
	testenv.Check(t, err)
	testenv.Check(t, f.Close())
}

// rename and copyAndTruncate are what logrotate does.
func rename(t *testing.T, path string) {
	t.Helper()
	testenv.Check(t, os.Rename(path, path+".1"))
}

func copyAndTruncate(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	testenv.Check(t, err)
	testenv.Check(t, os.WriteFile(path+".1", text, 0o600))
	testenv.Check(t, os.Truncate(path, 0))
}

func TestFileLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.log")
	write(t, path, "before\npart")
	l := follow(t, path, "")
	write(t, path, "ial\n\r\nCRLF\r\n\xff\nlong "+strings.Repeat("x", 100_000)+"\nnext\n")
	l.want("partial", "CRLF", "\ufffd")
	if e := l.nextLine(); !e.Truncated || len(e.Message) != 64<<10 || !strings.HasPrefix(e.Message, "long x") {
		t.Errorf("long line: %d bytes, truncated %t", len(e.Message), e.Truncated)
	}
	e := l.nextLine()
	host, err := os.Hostname()
	testenv.Check(t, err)
	if e.Message != "next" || e.EventType != "log" || e.Path != path || e.Host.Hostname != host || e.Truncated || len(e.EventID) != 32 {
		t.Errorf("%+v", e)
	}
}

// A pattern has many files; those that appear are read from their beginning, also after a
// restart, and those that rotation makes are not.
func TestFilePattern(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	write(t, in("a.log"), "old\n")
	l := follow(t, in("*.log*"), "")
	write(t, in("a.log.1"), "rotated\n")
	write(t, in("a.log-20260102"), "rotated\n")
	write(t, in("c.log.2.gz"), "compressed\n")
	write(t, in("b.log"), "b1\n")
	write(t, in("a.log"), "a1\n")
	l.want("a1", "b1")
	l.stop()
	write(t, in("a.log"), "a2\n")
	write(t, in("c.log"), "c1\n")
	l = follow(t, in("*.log*"), l.position)
	l.want("a2", "c1")
	testenv.Check(t, os.Rename(in("a.log"), in("d.log")))
	write(t, in("d.log"), "a3\n")
	l.want("a3")
}

// No line is lost, and none comes twice, when a log is rotated while it is followed.
func TestFileRotation(t *testing.T) {
	for name, rotate := range map[string]func(*testing.T, string){"rename": rename, "copytruncate": copyAndTruncate} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.log")
			write(t, path, "old\n")
			l := follow(t, path, "")
			for i := range 3 {
				// The same lines each time, so that only the file tells them apart.
				write(t, path, "one\ntwo\n")
				l.want("one", "two")
				write(t, path, fmt.Sprintf("three %d\n", i))
				rotate(t, path)
				write(t, path, "one\n")
				l.want("one", fmt.Sprintf("three %d", i))
			}
			if name == "rename" { // a program writes to the old file until it opens the new one
				write(t, path+".1", "late\n")
				l.want("late")
			}
		})
	}
}

// The same holds for a log that was rotated while no agent ran.
func TestFileRotationWhileStopped(t *testing.T) {
	for name, rotate := range map[string]func(*testing.T, string){"rename": rename, "copytruncate": copyAndTruncate} {
		for _, read := range []string{"", "zero\n"} { // before the agent stops
			t.Run(fmt.Sprintf("%s after %q", name, read), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "app.log")
				write(t, path, "")
				l := follow(t, path, "")
				if read != "" {
					write(t, path, read)
					l.want("zero")
				}
				l.stop()
				write(t, path, "one\n")
				rotate(t, path)
				testenv.Check(t, os.Rename(path+".1", path+".2"))
				write(t, path, "two\n")
				rotate(t, path)
				write(t, path, "three\n")
				l2 := follow(t, path, l.position)
				l2.want("one", "two", "three")
				l2.stop()
				write(t, path, "four\n")
				follow(t, path, l2.position).want("four")
			})
		}
	}
}

// A line that is read again from the same position has the same id.
func TestFileIDs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	write(t, path, "")
	l := follow(t, path, "")
	l.stop()
	write(t, path, "one\none\n")
	first, again := follow(t, path, l.position), follow(t, path, l.position)
	for range 2 {
		if diff := cmp.Diff(first.nextLine(), again.nextLine()); diff != "" {
			t.Errorf("(-first +again):\n%s", diff)
		}
	}
}
