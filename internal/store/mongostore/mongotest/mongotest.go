// Package mongotest starts servers for tests that speak MongoDB's protocol:
// FerretDB, built from the module test/ferretdb and cached in the user's cache
// directory.
package mongotest

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/testenv"
)

// A Server is a running FerretDB.
type Server struct {
	URI string // without a database

	cmd   *exec.Cmd
	stdin io.Closer
}

// Start starts a server that ends with the test. It is fast because it does not
// sync its files.
func Start(t testing.TB) *Server {
	t.Helper()
	return StartFerretDBAt(t, t.TempDir(), "127.0.0.1:0", "-quick")
}

// StartFerretDBAt starts a server with its files in a directory, listening on an address.
func StartFerretDBAt(t testing.TB, dir, listen string, flags ...string) *Server {
	t.Helper()
	bin, err := build()
	if err != nil {
		testenv.Skip(t, "FerretDB: "+err.Error())
	}
	s := &Server{cmd: exec.Command(bin, append([]string{"-dir", dir, "-listen", listen}, flags...)...)}
	s.cmd.Stderr = os.Stderr
	stdin, err := s.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.stdin = stdin
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("FerretDB did not print its address: %v", err)
	}
	s.URI = strings.TrimSpace(line)
	return s
}

// Kill kills the server. It may be called again.
func (s *Server) Kill() {
	s.stdin.Close()
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// Process is the server's process.
func (s *Server) Process() *os.Process { return s.cmd.Process }

// Database returns the URI of a database that only this test uses.
func (s *Server) Database(t testing.TB) string {
	h := sha256.Sum256([]byte(t.Name()))
	return fmt.Sprintf("%spicket_%s_%d", s.URI, hex.EncodeToString(h[:6]), time.Now().UnixNano()%1e9)
}

// Build builds the server unless it is cached, and returns why that failed.
func Build() error {
	_, err := build()
	return err
}

var build = sync.OnceValues(func() (string, error) {
	_, file, _, _ := runtime.Caller(0)
	src := filepath.Join(filepath.Dir(file), "..", "..", "..", "..", "test", "ferretdb")
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version())
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		b, err := os.ReadFile(filepath.Join(src, name))
		if err != nil {
			return "", err
		}
		h.Write(b)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "picket-test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "ferretdb-"+hex.EncodeToString(h.Sum(nil)[:8]))
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	tmp := fmt.Sprintf("%s.%d", bin, os.Getpid())
	defer os.Remove(tmp)
	cmd := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-o", tmp, ".")
	cmd.Dir = src
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w: %s", err, out)
	}
	return bin, os.Rename(tmp, bin)
})

// Addr returns the address on which the server listens.
func (s *Server) Addr() string {
	return strings.TrimSuffix(strings.TrimPrefix(s.URI, "mongodb://"), "/")
}
