// Package mongotest gives tests a server that speaks MongoDB's protocol: the one that
// PICKET_TEST_MONGO names, or SecantusDB, which scripts/install-mongodb installs.
// Without either, tests are skipped.
package mongotest

import (
	"bufio"
	"context"
	"crypto/rand"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket/internal/testenv"
)

// A Server is a server for tests.
type Server struct {
	uri string
	cmd *exec.Cmd // nil: the server of PICKET_TEST_MONGO
}

// Start returns the server that PICKET_TEST_MONGO names, or a new one that ends with the
// test.
func Start(t testing.TB) *Server {
	t.Helper()
	if uri := os.Getenv("PICKET_TEST_MONGO"); uri != "" {
		return &Server{uri: uri}
	}
	return StartProcess(t, t.TempDir(), "127.0.0.1:0")
}

// StartProcess starts a server of its own, for tests that kill or pause it. It has its
// files in a directory and listens on an address.
func StartProcess(t testing.TB, dir, listen string, flags ...string) *Server {
	t.Helper()
	program, err := findProgram()
	if err != nil {
		testenv.Skip(t, "a MongoDB: run scripts/install-mongodb, or set PICKET_TEST_MONGO: "+err.Error())
	}
	host, port, err := net.SplitHostPort(listen)
	testenv.Check(t, err)
	args := append([]string{"--host", host, "--port", port, "--storage-path", dir, "--cache-size", "256M", "--log-file-max", "32MB", "--log-level", "ERROR"}, flags...)
	s := &Server{cmd: exec.Command(program, args...)}
	s.cmd.Stderr = os.Stderr
	stdout, err := s.cmd.StdoutPipe()
	testenv.Check(t, err)
	testenv.Check(t, s.cmd.Start())
	t.Cleanup(s.Kill)
	lines := bufio.NewReader(stdout)
	for s.uri == "" {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("%s did not print its address: %v", program, err)
		}
		if _, addr, ok := strings.Cut(line, "listening on "); ok {
			s.uri = "mongodb://" + strings.TrimSpace(addr) + "/"
		}
	}
	return s
}

// findProgram returns the path of the program that StartProcess starts.
func findProgram() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return exec.LookPath(filepath.Join(cache, "picket-test", "mongodb", "bin", "secantusd-rs"))
}

// CheckAvailable returns why Start would skip the test, nil if it would not.
func CheckAvailable() error {
	if os.Getenv("PICKET_TEST_MONGO") != "" {
		return nil
	}
	_, err := findProgram()
	return err
}

// Kill kills a server of StartProcess. It may be called again.
func (s *Server) Kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// Process is the process of a server of StartProcess.
func (s *Server) Process() *os.Process { return s.cmd.Process }

// Addr returns the address on which a server of StartProcess listens.
func (s *Server) Addr() string {
	return strings.TrimSuffix(strings.TrimPrefix(s.uri, "mongodb://"), "/")
}

// Database returns the URI of a database that only this test uses. On the server of
// PICKET_TEST_MONGO it is dropped when the test ends.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := "picket_test_" + strings.ToLower(rand.Text()[:12])
	before, params, _ := strings.Cut(s.uri, "?")
	scheme, rest, ok := strings.Cut(before, "://")
	if !ok {
		t.Fatalf("PICKET_TEST_MONGO %q is not a URI", s.uri)
	}
	hosts, _, _ := strings.Cut(rest, "/")
	uri := scheme + "://" + hosts + "/" + name
	if params != "" {
		uri += "?" + params
	}
	if s.cmd == nil {
		t.Cleanup(func() { drop(t, s.uri, name) })
	}
	return uri
}

// Through returns the URI of a database through a proxy at an address, for a server of
// StartProcess. The driver would otherwise connect to the address that the server names.
func (s *Server) Through(proxy, uri string) string {
	return strings.Replace(uri, s.Addr(), proxy, 1) + "?directConnection=true"
}

func drop(t testing.TB, uri, database string) {
	ctx, cancel := context.WithTimeout(context.Background(), testenv.Timeout)
	defer cancel()
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err == nil {
		err = client.Database(database).Drop(ctx)
		client.Disconnect(ctx)
	}
	if err != nil {
		t.Error(err)
	}
}
