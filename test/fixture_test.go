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

// With -consumer python, a stock Celery worker replaces picket's, which shows
// whether the tests themselves are right.
var consumer = flag.String("consumer", "picket", "whose worker runs the tasks in the Celery tests: picket or python")

// ingest is the legacy system's task.
const ingest = "ingestion.tasks.telemetry_ingest"

// A celeryFixture is a Redis broker and a version of Celery.
type celeryFixture struct {
	version string
	redis   *redistest.Server
	client  *redis.Client
	python  string // the interpreter
	data    string // picket's data directory
	options string // of the queue's URL
	seen    string // PICKET_TEST_SEEN of celery/app.py
}

// eachCelery runs a test with every version of Celery, each with its own Redis.
func eachCelery(t *testing.T, test func(t *testing.T, f *celeryFixture)) {
	t.Parallel()
	for _, version := range []string{"5.2", "new"} {
		t.Run("celery "+version, func(t *testing.T) {
			t.Parallel()
			test(t, newCeleryFixture(t, version))
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

// broker returns the broker's URL for Celery.
func (f *celeryFixture) broker() string { return f.redis.URL() }

// queue returns the broker's URL for picket's --queue.
func (f *celeryFixture) queue() string { return "celery+" + f.redis.URL() + f.options }

// pythonCommand returns a command that runs Python in the directory of the Celery
// app.
func (f *celeryFixture) pythonCommand(args ...string) *exec.Cmd {
	cmd := exec.Command(f.python, args...)
	cmd.Dir = "celery"
	cmd.Env = append(os.Environ(), "PICKET_TEST_REDIS="+f.broker(), "PICKET_TEST_SEEN="+f.seen, "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1")
	return cmd
}

// pythonWorker starts a stock Celery worker.
func (f *celeryFixture) pythonWorker(t testing.TB, name string, args ...string) *process {
	t.Helper()
	cmd := f.pythonCommand(append([]string{"-W", "ignore", "-m", "celery", "--quiet", "-A", "app", "worker", "-n", name + "@%h", "--loglevel", "WARNING"}, args...)...)
	return startProcess(t, cmd)
}

// picketWorker starts a picket worker.
func (f *celeryFixture) picketWorker(t testing.TB, args ...string) *process {
	t.Helper()
	return startProcess(t, exec.Command(binary(t), append([]string{"worker", "--data", f.data, "--queue", f.queue(), "--log-level", "warn"}, args...)...))
}

// worker starts the worker under test with a concurrency of 2, waits until it
// replies to a ping, and returns it and its node name.
func (f *celeryFixture) worker(t testing.TB, py *shell) (*process, string) {
	t.Helper()
	var p *process
	if *consumer == "python" {
		p = f.pythonWorker(t, "python", "--concurrency", "2")
	} else {
		p = f.picketWorker(t, "--concurrency", "2")
	}
	return p, py.nodes(t, 1)[0]
}

// results returns the number of results in the backend.
func (f *celeryFixture) results(t testing.TB) int {
	t.Helper()
	n, err := f.client.Eval(t.Context(), `return #redis.call("keys", "celery-task-meta-*")`, nil).Int()
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
	// Most tests wait for other processes most of the time.
	err := flag.Set("test.parallel", "6")
	flag.Parse()
	if err != nil {
		panic(err)
	}
	if buildDir, err = os.MkdirTemp("", "picket-test-*"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

// A process runs beside the test. It and its children are killed when the test
// ends.
type process struct {
	cmd    *exec.Cmd
	output testenv.Buffer // stdout and stderr
	exited chan struct{}  // closed when the process has exited
	err    error          // from Wait; valid once exited is closed
}

func startProcess(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, exited: make(chan struct{})}
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
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s printed:\n%s", strings.Join(cmd.Args, " "), p.output.String())
		}
	})
	return p
}

// kill sends SIGKILL to the process and its children.
func (p *process) kill() {
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.exited
}

// stop sends SIGTERM, after which the process must exit with status 0.
func (p *process) stop(t testing.TB) {
	t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.waitForExit(t)
}

// waitForExit waits until the process has exited with status 0.
func (p *process) waitForExit(t testing.TB) {
	t.Helper()
	select {
	case <-p.exited:
		if p.err != nil {
			t.Errorf("%s exited with %v: %s", p.cmd.Args[0], p.err, p.output.String())
		}
	case <-time.After(testenv.Timeout):
		t.Fatalf("%s does not exit: %s", p.cmd.Args[0], p.output.String())
	}
}

// A shell evaluates Python expressions with a stock Celery: celery/shell.py.
type shell struct {
	process *process
	in      *json.Encoder
	answers *bufio.Reader
}

func (f *celeryFixture) shell(t testing.TB) *shell {
	t.Helper()
	cmd := f.pythonCommand("shell.py")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, w := io.Pipe()
	cmd.Stdout = w
	p := startProcess(t, cmd)
	go func() {
		<-p.exited
		w.Close()
	}()
	return &shell{process: p, in: json.NewEncoder(in), answers: bufio.NewReader(out)}
}

// An answer is the value or the exception of a Python expression.
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

// try evaluates a Python expression, which must return or raise.
func (s *shell) try(t testing.TB, format string, args ...any) answer {
	t.Helper()
	timeout := time.AfterFunc(2*testenv.Timeout, s.process.kill)
	defer timeout.Stop()
	a, err := s.ask(format, args...)
	if err != nil {
		t.Fatalf("%s: %v", fmt.Sprintf(format, args...), err)
	}
	return a
}

// eval evaluates an expression, which must not raise, and returns its value as
// JSON.
func (s *shell) eval(t testing.TB, format string, args ...any) string {
	t.Helper()
	a := s.try(t, format, args...)
	if a.Error != "" {
		t.Fatalf("%s\nraised %s: %s", fmt.Sprintf(format, args...), a.Error, a.Text)
	}
	return string(a.Value)
}

// is checks the value of an expression.
func (s *shell) is(t testing.TB, want, format string, args ...any) {
	t.Helper()
	if a := s.try(t, format, args...); a.Error != "" || string(a.Value) != want {
		t.Errorf("%s\ngot  %s %s %s\nwant %s", fmt.Sprintf(format, args...), a.Value, a.Error, a.Text, want)
	}
}

// into evaluates an expression into a Go value.
func (s *shell) into(t testing.TB, v any, format string, args ...any) {
	t.Helper()
	if err := json.Unmarshal([]byte(s.eval(t, format, args...)), v); err != nil {
		t.Fatal(err)
	}
}

// raises checks that an expression raises an exception with a class and a text.
func (s *shell) raises(t testing.TB, class, text, format string, args ...any) {
	t.Helper()
	a := s.try(t, format, args...)
	if a.Error != class || !strings.Contains(a.Text, text) {
		t.Errorf("%s\nraised %q: %q, not %s: %q; value %s", fmt.Sprintf(format, args...), a.Error, a.Text, class, text, a.Value)
	}
}

// nodes waits until n workers reply to a ping, and returns their names.
func (s *shell) nodes(t testing.TB, n int) (names []string) {
	t.Helper()
	s.into(t, &names, "nodes(%d)", n)
	return names
}

// cli runs the celery command, which must exit with status 0, and returns its
// output.
func (s *shell) cli(t testing.TB, args ...string) string {
	t.Helper()
	quoted, _ := json.Marshal(args) // valid in Python too
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
