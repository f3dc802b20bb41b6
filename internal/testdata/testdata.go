// Package testdata finds the data that tests run against but that is not part
// of picket: Sigma rules and telemetry of other projects, in the folder that
// PICKET_TEST_DATA names, by default ../shared/data beside the repository.
package testdata

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Find returns the folder, and whether it is there.
func Find() (string, bool) {
	dir := os.Getenv("PICKET_TEST_DATA")
	if dir == "" {
		_, file, _, _ := runtime.Caller(0)
		dir = filepath.Join(filepath.Dir(file), "..", "..", "..", "shared", "data")
	}
	_, err := os.Stat(dir)
	return dir, err == nil
}

// Dir returns the folder, or skips the test where it is absent.
func Dir(t testing.TB) string {
	t.Helper()
	dir, ok := Find()
	if !ok {
		Skip(t, "data in "+dir+"; set PICKET_TEST_DATA")
	}
	return dir
}

// Skip skips a test for want of something, loudly. Where PICKET_TEST_REQUIRE
// is set, as in continuous integration, everything is there to be had, and to
// skip is to fail.
func Skip(t testing.TB, missing string) {
	t.Helper()
	if os.Getenv("PICKET_TEST_REQUIRE") != "" {
		t.Fatalf("there is no %s", missing)
	}
	t.Skipf("SKIPPED for want of %s", missing)
}
