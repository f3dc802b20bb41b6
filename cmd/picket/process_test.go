package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/testenv"
)

// A process is a running picket command.
type process struct {
	cmd    *exec.Cmd
	stderr testenv.Buffer
	url    string        // a server's console
	exited chan struct{} // closed when the process has exited
	err    error         // from Wait; valid once exited is closed
}

// startServer runs picket serve in a directory, listening on addr, and waits
// until it serves. env is added to the environment.
func startServer(dir, addr string, env []string, args ...string) (*process, error) {
	p, out, err := startProcess(dir, env, append([]string{"serve", "--listen", addr}, args...)...)
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
	return nil, fmt.Errorf("server did not start: %s", p.stderr.String())
}

// startProcess runs picket in a directory, and returns its stdout.
func startProcess(dir string, env []string, args ...string) (*process, io.Reader, error) {
	p := &process{cmd: exec.Command("picket", args...), exited: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = &p.stderr
	out, w := io.Pipe()
	p.cmd.Stdout = w
	if err := p.cmd.Start(); err != nil {
		return nil, nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		w.Close()
		close(p.exited)
	}()
	return p, out, nil
}

// kill sends SIGKILL and waits until the process has exited.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.exited
}

// stop sends SIGTERM and waits until the process has exited. An exit status
// other than 0 is an error.
func (p *process) stop() error {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(testenv.Timeout):
		p.kill()
		return fmt.Errorf("process ignored SIGTERM: %s", p.stderr.String())
	}
	if p.err != nil {
		return fmt.Errorf("process exited with %v: %s", p.err, p.stderr.String())
	}
	return nil
}

// A testCluster is a server and what else runs beside it. Successive servers
// use one data directory and one port, so that clients reach the next one.
type testCluster struct {
	t    *testing.T
	data string
	args []string // of the server
	env  []string // of all processes
	addr string

	server *process
}

func newTestCluster(t *testing.T, args ...string) *testCluster {
	c := &testCluster{t: t, data: t.TempDir(), addr: "127.0.0.1:0", args: args}
	t.Cleanup(func() {
		if c.server != nil {
			c.server.kill()
		}
	})
	return c
}

// startServer starts the next server.
func (c *testCluster) startServer() *process {
	c.t.Helper()
	p, err := startServer(c.data, c.addr, c.env, append([]string{"--data", "."}, c.args...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.addr = strings.TrimPrefix(p.url, "http://")
	c.server = p
	return p
}

func (c *testCluster) url() string { return "http://" + c.addr }

// request sends a request with a token, and returns its answer.
func (c *testCluster) request(method, path, token, body string) (status int, answer string) {
	c.t.Helper()
	req, err := http.NewRequest(method, c.url()+path, strings.NewReader(body))
	testenv.Check(c.t, err)
	req.Header.Set("Authorization", "Token "+token)
	resp, err := http.DefaultClient.Do(req)
	testenv.Check(c.t, err)
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	testenv.Check(c.t, err)
	return resp.StatusCode, string(content)
}

// createToken creates a token with another process.
func (c *testCluster) createToken(args ...string) string {
	c.t.Helper()
	return strings.TrimSpace(c.run(append([]string{"token", "create", "--data", "."}, args...)...))
}

// run runs picket in the data directory to its end, and returns its output.
func (c *testCluster) run(args ...string) string {
	c.t.Helper()
	cmd := exec.Command("picket", args...)
	cmd.Dir, cmd.Env = c.data, append(os.Environ(), c.env...)
	out, err := cmd.Output()
	if err != nil {
		var stderr []byte
		if e, ok := err.(*exec.ExitError); ok {
			stderr = e.Stderr
		}
		c.t.Fatalf("picket %s: %v: %s", strings.Join(args, " "), err, stderr)
	}
	return string(out)
}

// startWorker starts a worker process in a directory.
func (c *testCluster) startWorker(dir string, args ...string) *process {
	c.t.Helper()
	p, _, err := startProcess(dir, c.env, append([]string{"worker", "--concurrency", "2"}, args...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(p.kill)
	return p
}

// startWorkers starts two workers in a directory, or in one each if it is "".
func (c *testCluster) startWorkers(dir string, args ...string) (workers [2]*process) {
	c.t.Helper()
	for i := range workers {
		workers[i] = c.startWorker(cmp.Or(dir, c.t.TempDir()), args...)
	}
	return workers
}

// stopWorkers stops workers, which must exit with status 0.
func (c *testCluster) stopWorkers(workers ...*process) {
	c.t.Helper()
	for _, p := range workers {
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
