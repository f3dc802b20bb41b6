package test

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/testenv"
)

// With -consumer python the tests try themselves: a stock Celery worker stands
// where picket's is meant to.
var consumer = flag.String("consumer", "picket", "whose worker runs the tasks in the Celery tests: picket or python")

// ingest is the task of the replaced system.
const ingest = "ingestion.tasks.telemetry_ingest"

// A celeryFixture is a Redis, and a version of Celery to use it with.
type celeryFixture struct {
	version string
	redis   *redistest.Server
	client  *redis.Client // of it
	python  string        // the interpreter
	data    string        // picket's
	options string        // of the queue's URL
	seen    string        // a list for what Python's telemetry_ingest is given; "" is none
}

// eachCelery runs a test with every Celery, each on a Redis of its own.
func eachCelery(t *testing.T, f func(t *testing.T, r *celeryFixture)) {
	for _, version := range []string{"5.2", "new"} {
		t.Run("celery "+version, func(t *testing.T) {
			t.Parallel()
			f(t, newCeleryFixture(t, version))
		})
	}
}

func newCeleryFixture(t testing.TB, version string) *celeryFixture {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	python := filepath.Join(cache, "picket-test", "celery-"+version, "bin", "python")
	if _, err := os.Stat(python); err != nil {
		testenv.Skip(t, "Celery in "+python+"; run scripts/install-celery")
	}
	server := redistest.Start(t)
	return &celeryFixture{version: version, python: python, redis: server, client: server.Client(), data: t.TempDir()}
}

// broker is the Redis as Celery's settings name it.
func (r *celeryFixture) broker() string { return r.redis.URL() }

// queue is the same for picket's --queue.
func (r *celeryFixture) queue() string { return "celery+" + r.redis.URL() + r.options }

// pythonCommand is an interpreter in the folder of the Celery app.
func (r *celeryFixture) pythonCommand(args ...string) *exec.Cmd {
	cmd := exec.Command(r.python, args...)
	cmd.Dir = "celery"
	cmd.Env = append(os.Environ(), "PICKET_TEST_REDIS="+r.broker(), "PICKET_TEST_SEEN="+r.seen, "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1")
	return cmd
}

// pythonWorker starts a stock Celery worker.
func (r *celeryFixture) pythonWorker(t testing.TB, name string, args ...string) *process {
	t.Helper()
	cmd := r.pythonCommand(append([]string{"-W", "ignore", "-m", "celery", "--quiet", "-A", "app", "worker", "-n", name + "@%h", "--loglevel", "WARNING"}, args...)...)
	return startProcess(t, cmd)
}

// picketWorker starts a picket worker.
func (r *celeryFixture) picketWorker(t testing.TB, args ...string) *process {
	t.Helper()
	return startProcess(t, exec.Command(binary(t), append([]string{"worker", "--data", r.data, "--queue", r.queue(), "--log-level", "warn"}, args...)...))
}

// worker starts one worker of the kind that is to be tested, with two hands,
// and returns it and its node name once it answers.
func (r *celeryFixture) worker(t testing.TB, py *shell) (*process, string) {
	t.Helper()
	var p *process
	if *consumer == "python" {
		p = r.pythonWorker(t, "python", "--concurrency", "2")
	} else {
		p = r.picketWorker(t, "--concurrency", "2")
	}
	return p, py.nodes(t, 1)[0]
}

// results counts the results in the backend.
func (r *celeryFixture) results(t testing.TB) int {
	t.Helper()
	n, err := r.client.Eval(t.Context(), `return #redis.call("keys", "celery-task-meta-*")`, nil).Int()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// binary builds picket, once for all tests.
func binary(t testing.TB) string {
	t.Helper()
	path, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var (
	buildDir  string // removed by TestMain
	buildOnce = sync.OnceValues(func() (string, error) {
		path := filepath.Join(buildDir, "picket")
		out, err := exec.Command("go", "build", "-C", "..", "-o", path, "./cmd/picket").CombinedOutput()
		if err != nil {
			err = fmt.Errorf("build: %w\n%s", err, out)
		}
		return path, err
	})
)

func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	if buildDir, err = os.MkdirTemp("", "picket-test-*"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

// A process runs beside the test, and is killed with its children at its end.
type process struct {
	cmd    *exec.Cmd
	output testenv.Buffer // on stdout and stderr
	end    chan struct{}  // closed when it has exited
	err    error          // of Wait; after end
}

func startProcess(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, end: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = &p.output
	}
	cmd.Stderr = &p.output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.end)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", strings.Join(cmd.Args, " "), p.output.String())
		}
	})
	return p
}

// kill is kill -9, of its children too.
func (p *process) kill() {
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.end
}

// interrupt is SIGTERM, after which the process must end well.
func (p *process) interrupt(t testing.TB) {
	t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.waitForExit(t)
}

// waitForExit waits until the process has exited, which it must do well.
func (p *process) waitForExit(t testing.TB) {
	t.Helper()
	select {
	case <-p.end:
		if p.err != nil {
			t.Errorf("%s ended with %v: %s", p.cmd.Args[0], p.err, p.output.String())
		}
	case <-time.After(testenv.Timeout):
		t.Fatalf("%s does not end: %s", p.cmd.Args[0], p.output.String())
	}
}

// A shell is a Python in which a stock Celery is at hand: celery/shell.py.
type shell struct {
	process *process
	in      *json.Encoder
	answers *bufio.Reader
}

func (r *celeryFixture) shell(t testing.TB) *shell {
	t.Helper()
	cmd := r.pythonCommand("shell.py")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, w := io.Pipe()
	cmd.Stdout = w
	p := startProcess(t, cmd)
	go func() {
		<-p.end
		w.Close()
	}()
	return &shell{process: p, in: json.NewEncoder(in), answers: bufio.NewReader(out)}
}

// An answer is what came of a Python expression.
type answer struct {
	Value json.RawMessage
	Error string // the class of the exception
	Text  string
}

// ask evaluates a Python expression.
func (s *shell) ask(format string, args ...any) (a answer, err error) {
	if err = s.in.Encode(fmt.Sprintf(format, args...)); err != nil {
		return a, err
	}
	line, err := s.answers.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &a)
	}
	return a, err
}

// try is ask of what must be answered soon.
func (s *shell) try(t testing.TB, format string, args ...any) answer {
	t.Helper()
	late := time.AfterFunc(2*testenv.Timeout, s.process.kill)
	defer late.Stop()
	a, err := s.ask(format, args...)
	if err != nil {
		t.Fatalf("%s: %v", fmt.Sprintf(format, args...), err)
	}
	return a
}

// eval is try of what must not raise; the value as JSON.
func (s *shell) eval(t testing.TB, format string, args ...any) string {
	t.Helper()
	a := s.try(t, format, args...)
	if a.Error != "" {
		t.Fatalf("%s\nraised %s: %s", fmt.Sprintf(format, args...), a.Error, a.Text)
	}
	return string(a.Value)
}

// is is try of what must have a value.
func (s *shell) is(t testing.TB, want, format string, args ...any) {
	t.Helper()
	if a := s.try(t, format, args...); a.Error != "" || string(a.Value) != want {
		t.Errorf("%s\nis   %s %s %s\nwant %s", fmt.Sprintf(format, args...), a.Value, a.Error, a.Text, want)
	}
}

// into is eval of what has a Go type.
func (s *shell) into(t testing.TB, v any, format string, args ...any) {
	t.Helper()
	if err := json.Unmarshal([]byte(s.eval(t, format, args...)), v); err != nil {
		t.Fatal(err)
	}
}

// raises is try of what must raise such an exception.
func (s *shell) raises(t testing.TB, class, text, format string, args ...any) {
	t.Helper()
	a := s.try(t, format, args...)
	if a.Error != class || !strings.Contains(a.Text, text) {
		t.Errorf("%s\nraised %q: %q, not %s: %q; value %s", fmt.Sprintf(format, args...), a.Error, a.Text, class, text, a.Value)
	}
}

// nodes waits until n workers answer, and returns their names.
func (s *shell) nodes(t testing.TB, n int) (names []string) {
	t.Helper()
	s.into(t, &names, "nodes(%d)", n)
	return names
}

// cli runs the celery command, which must exit with code 0, and returns what
// it prints.
func (s *shell) cli(t testing.TB, args ...string) string {
	t.Helper()
	quoted, _ := json.Marshal(args) // is Python too
	var res struct {
		Exit int
		Out  string
	}
	s.into(t, &res, "cli(*%s)", quoted)
	if res.Exit != 0 {
		t.Errorf("celery %s: exit %d: %s", strings.Join(args, " "), res.Exit, res.Out)
	}
	return res.Out
}
