// Package redistest starts real Redis servers for tests, and treats them as
// the world does: stops, kills, freezes and restarts them.
//
// The server is redis-server of the path, or what PICKET_TEST_REDIS_SERVER
// names. Where there is none the test is skipped, loudly.
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

// patience bounds how long a server takes to start.
const patience = 20 * time.Second

// Durable are the settings under which what was answered is on disk.
var Durable = []string{"--appendonly", "yes", "--appendfsync", "always"}

// A Server is a redis-server on loopback, with a folder of its own.
type Server struct {
	Addr string // host:port

	t    testing.TB
	dir  string
	args []string
	conf string // a file, of a Sentinel

	mu  sync.Mutex
	cmd *exec.Cmd
	out bytes.Buffer // of the server now running
}

// binary finds the server's program.
func binary(t testing.TB) string {
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

// Start starts a server with extra arguments, waits until it answers, and
// kills it when the test ends.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	binary(t)
	s := &Server{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(t))), t: t, dir: t.TempDir(), args: args}
	t.Cleanup(s.Kill)
	s.Start()
	return s
}

// freePort returns a port that nobody listens on, nor on that 10,000 above it,
// which Redis Cluster uses.
func freePort(t testing.TB) int {
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
			if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err != nil {
				continue
			}
			l.Close()
		}
		bus, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+10_000)))
		if err != nil {
			continue
		}
		bus.Close()
		return port
	}
	t.Fatal("no free port")
	return 0
}

// URL is the server's, for --queue.
func (s *Server) URL() string { return "redis://" + s.Addr + "/0" }

// Start starts a server that was stopped, on the same port and data.
func (s *Server) Start() {
	s.t.Helper()
	host, port, _ := net.SplitHostPort(s.Addr)
	args := []string{"--port", port, "--bind", host, "--dir", s.dir, "--daemonize", "no", "--loglevel", "notice"}
	if s.conf != "" {
		args = append([]string{s.conf}, args...)
	} else {
		args = append(args, "--save", "")
	}
	args = append(args, s.args...)
	cmd := exec.Command(binary(s.t), args...)
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
	s.await()
}

// await returns when the server answers. There is nothing to be told by, so
// it asks again and again.
func (s *Server) await() {
	s.t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = ping(s.Addr); err == nil {
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t.Fatalf("redis-server does not start: %v\n%s", err, s.out.Bytes())
}

// ping asks without the driver, which would log what is expected here. One
// that asks for a password has answered.
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

// Client returns a client of the server, which the test's end closes.
func (s *Server) Client() *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: s.Addr, Protocol: 2})
	s.t.Cleanup(func() { c.Close() })
	return c
}

// Dir is the server's folder.
func (s *Server) Dir() string { return s.dir }

// Kill is kill -9. A server that is not running stays so.
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

// Config writes a file into the server's folder, and returns its path.
func (s *Server) Config(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(fmt.Errorf("write %s: %w", name, err))
	}
	return path
}
