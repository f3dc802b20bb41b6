package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes the test binary stand for picket too: processes that tests
// start as "picket" are this very code.
func TestMain(m *testing.M) {
	// The race detector would have every process wait a second at its end.
	if os.Getenv("GORACE") == "" {
		os.Setenv("GORACE", "atexit_sleep_ms=0")
	}
	testscript.Main(m, map[string]func(){"picket": func() { os.Exit(run()) }})
}
