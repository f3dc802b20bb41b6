// Package redistest starts real Redis servers for tests, which can be killed,
// paused and restarted.
//
// It runs redis-server from the path, or the program in
// PICKET_TEST_REDIS_SERVER. Without one, tests are skipped.
package redistest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket/internal/testenv"
)

// DurableArgs are settings that put data on disk before a command is answered.
var DurableArgs = []string{"--appendonly", "yes", "--appendfsync", "always"}

// A Server is a redis-server on loopback with its own directory.
type Server struct {
	Addr string // host:port

	t          testing.TB
	dir        string
	args       []string
	configFile string // of a Sentinel

	mu  sync.Mutex
	cmd *exec.Cmd
	out bytes.Buffer // of the running process
}

// redisServerPath finds the redis-server program.
func redisServerPath(t testing.TB) string {
	t.Helper()
	name := os.Getenv("PICKET_TEST_REDIS_SERVER")
	if name == "" {
		name = "redis-server"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		testenv.Skip(t, "redis-server in the path; apt-get install redis-server")
	}
	return path
}

// Start starts a server with additional arguments and waits until it answers. The
// server is killed when the test ends.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	redisServerPath(t)
	s := &Server{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(reservePortAndBusPort(t))), t: t, dir: t.TempDir(), args: args}
	t.Cleanup(s.Kill)
	s.StartAgain()
	return s
}

// reservedPorts has the ports that this process has given to servers, some of which
// may not listen yet.
var reservedPorts sync.Map

// reservePortAndBusPort returns a free port for which the port 10,000 above, which Redis
// Cluster uses, is free too.
func reservePortAndBusPort(t testing.TB) int {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		if port > 50_000 {
			port -= 20_000
		}
		if _, taken := reservedPorts.LoadOrStore(port, true); !taken && isFree(port) && isFree(port+10_000) {
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

func isFree(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err == nil {
		l.Close()
	}
	return err == nil
}

// URL returns the server's URL, as for --queue.
func (s *Server) URL() string { return "redis://" + s.Addr + "/0" }

// StartAgain starts a server that was killed, with the same port and data.
func (s *Server) StartAgain() {
	s.t.Helper()
	host, port, _ := net.SplitHostPort(s.Addr)
	args := []string{"--port", port, "--bind", host, "--dir", s.dir, "--daemonize", "no", "--loglevel", "notice"}
	if s.configFile != "" {
		args = append([]string{s.configFile}, args...)
	} else {
		args = append(args, "--save", "")
	}
	args = append(args, s.args...)
	cmd := exec.Command(redisServerPath(s.t), args...)
	s.mu.Lock()
	s.out.Reset()
	cmd.Stdout, cmd.Stderr = &lockedWriter{&s.mu, &s.out}, &lockedWriter{&s.mu, &s.out}
	s.mu.Unlock()
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.cmd = cmd
	s.mu.Unlock()
	s.waitReady()
}

// waitReady polls until the server answers.
func (s *Server) waitReady() {
	s.t.Helper()
	var err error
	for deadline := time.Now().Add(testenv.Timeout); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = ping(s.Addr); err == nil {
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t.Fatalf("redis-server did not start: %v\n%s", err, s.out.Bytes())
}

// ping sends PING, without the driver, which would log errors. A server that
// requires a password counts as ready.
func ping(addr string) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "+PONG") && !strings.HasPrefix(line, "-NOAUTH") {
		err = errors.New(strings.TrimSpace(line))
	}
	return err
}

type lockedWriter struct {
	mu *sync.Mutex
	w  *bytes.Buffer
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(p)
}

// Client returns a client of the server. It is closed when the test ends.
func (s *Server) Client() *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: s.Addr, Protocol: 2})
	s.t.Cleanup(func() { c.Close() })
	return c
}

// Dir returns the server's directory.
func (s *Server) Dir() string { return s.dir }

// Kill kills the process with SIGKILL, if it is running.
func (s *Server) Kill() {
	s.mu.Lock()
	cmd := s.cmd
	s.cmd = nil
	s.mu.Unlock()
	if cmd != nil {
		cmd.Process.Kill()
		cmd.Wait()
	}
}

// WriteFile writes a file to the server's directory and returns its path.
func (s *Server) WriteFile(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(fmt.Errorf("write %s: %w", name, err))
	}
	return path
}
