// Package testenv is what the tests of all packages share: the data that they
// run against, how they skip what is not installed, and how they check errors,
// wait for conditions and capture logs.
package testenv

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// FindExternalData returns the folder of Sigma rules and telemetry of other projects,
// which are not part of picket, and whether it exists: PICKET_TEST_DATA, by
// default ../shared/data beside the repository.
func FindExternalData() (string, bool) {
	dir := os.Getenv("PICKET_TEST_DATA")
	if dir == "" {
		_, file, _, _ := runtime.Caller(0)
		dir = filepath.Join(filepath.Dir(file), "..", "..", "..", "shared", "data")
	}
	_, err := os.Stat(dir)
	return dir, err == nil
}

// ExternalDataDir returns the folder that FindExternalData finds, or skips the test.
func ExternalDataDir(t testing.TB) string {
	t.Helper()
	dir, ok := FindExternalData()
	if !ok {
		Skip(t, "data in "+dir+"; set PICKET_TEST_DATA")
	}
	return dir
}

// Skip skips a test because something is not installed, loudly. Where
// PICKET_TEST_REQUIRE is set, as in continuous integration, everything can be
// installed, so the test fails instead.
func Skip(t testing.TB, missing string) {
	t.Helper()
	if os.Getenv("PICKET_TEST_REQUIRE") != "" {
		t.Fatalf("missing: %s", missing)
	}
	t.Skipf("SKIPPED, missing: %s", missing)
}

// Check fails the test at once if err is not nil.
func Check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Timeout bounds how long a test waits for a condition that is certain to come
// true. It is long because a busy machine may take long; no test passes by
// reaching it.
const Timeout = 3 * time.Minute

// Until polls a condition until it holds, and fails the test after Timeout.
// It is for conditions of other processes and servers, which cannot be waited
// for otherwise.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Timeout); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not true within %v: %s", Timeout, what)
		}
	}
}

// A Buffer is a bytes.Buffer for concurrent use, for the log of a package or
// the output of a process under test.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns what has been written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
