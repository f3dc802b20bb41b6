package main

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/testenv"
)

// A process is a picket that runs beside the test.
type process struct {
	cmd *exec.Cmd
	err testenv.Buffer // stderr
	url string         // of a server's console
	end chan struct{}  // closed when it has exited
	res error          // of Wait; after end
}

// startServer starts picket serve on a free port, or on that of addr, and
// waits until it serves.
func startServer(dir, addr string, args ...string) (*process, error) {
	p, out, err := start(dir, append([]string{"serve", "--listen", addr}, args...)...)
	if err != nil {
		return nil, err
	}
	found := make(chan string, 1)
	go func() {
		defer close(found)
		for s := bufio.NewScanner(out); s.Scan(); {
			if _, url, ok := strings.Cut(s.Text(), "console: "); ok {
				found <- url
			}
		}
	}()
	select {
	case url, ok := <-found:
		if ok {
			p.url = url
			return p, nil
		}
	case <-time.After(testenv.Timeout):
	}
	p.kill()
	return nil, fmt.Errorf("the server does not start: %s", p.err.String())
}

// start starts picket in a folder.
func start(dir string, args ...string) (*process, io.Reader, error) {
	p := &process{cmd: exec.Command("picket", args...), end: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Stderr = &p.err
	out, w := io.Pipe()
	p.cmd.Stdout = w
	if err := p.cmd.Start(); err != nil {
		return nil, nil, err
	}
	go func() {
		p.res = p.cmd.Wait()
		w.Close()
		close(p.end)
	}()
	return p, out, nil
}

// kill is kill -9.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.end
}

// stop is SIGTERM, after which the process must end well and soon.
func (p *process) stop() error {
	begin := time.Now()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.end:
	case <-time.After(testenv.Timeout):
		p.kill()
		return fmt.Errorf("the process did not stop: %s", p.err.String())
	}
	if took := time.Since(begin); p.res != nil || took > 15*time.Second {
		return fmt.Errorf("the process stopped after %s with %v: %s", took, p.res, p.err.String())
	}
	return nil
}

// A testCluster starts servers on one data directory, one after another, on one
// port, so that clients find the next.
type testCluster struct {
	t    *testing.T
	data string
	args []string
	addr string

	server *process
}

func newTestCluster(t *testing.T, args ...string) *testCluster {
	f := &testCluster{t: t, data: t.TempDir(), addr: "127.0.0.1:0", args: args}
	t.Cleanup(func() {
		if f.server != nil {
			f.server.kill()
		}
	})
	return f
}

// startServer starts the next server.
func (f *testCluster) startServer() *process {
	f.t.Helper()
	p, err := startServer(f.data, f.addr, append([]string{"--data", "."}, f.args...)...)
	if err != nil {
		f.t.Fatal(err)
	}
	f.addr = strings.TrimPrefix(p.url, "http://")
	f.server = p
	return p
}

func (f *testCluster) url() string { return "http://" + f.addr }

// token makes a token beside the server.
func (f *testCluster) token(args ...string) string {
	f.t.Helper()
	return strings.TrimSpace(f.run(append([]string{"token", "create", "--data", "."}, args...)...))
}

// run runs another picket on the data directory, and returns its output.
func (f *testCluster) run(args ...string) string {
	f.t.Helper()
	cmd := exec.Command("picket", args...)
	cmd.Dir = f.data
	out, err := cmd.Output()
	if err != nil {
		var stderr []byte
		if e, ok := err.(*exec.ExitError); ok {
			stderr = e.Stderr
		}
		f.t.Fatalf("picket %s: %v: %s", strings.Join(args, " "), err, stderr)
	}
	return string(out)
}

// A testWorkers is two workers in processes of their own, each in its turn killed and
// replaced.
type testWorkers struct {
	t       *testing.T
	args    []string
	dir     func() string // that the next one works in
	workers [2]*process
}

// newTestWorkers starts both.
func newTestWorkers(t *testing.T, dir func() string, args ...string) *testWorkers {
	t.Helper()
	c := &testWorkers{t: t, args: append([]string{"worker", "--concurrency", "2"}, args...), dir: dir}
	c.start(0)
	c.start(1)
	return c
}

func (c *testWorkers) start(i int) {
	c.t.Helper()
	p, _, err := start(c.dir(), c.args...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(p.kill)
	c.workers[i] = p
}

// stop asks both to end, which they must do well.
func (c *testWorkers) stop() {
	c.t.Helper()
	for _, p := range c.workers {
		if err := p.stop(); err != nil {
			c.t.Error(err)
		}
	}
}

// metric reads one sample of the metrics; ok is false where there is none.
func metric(text, name string) (value string, ok bool) {
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(text)
	if m == nil {
		return "", false
	}
	return m[1], true
}
