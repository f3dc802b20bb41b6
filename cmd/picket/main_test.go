package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes the test binary stand for picket too: processes that tests
// start as "picket" are this very code.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"picket": func() { os.Exit(run()) }})
}
