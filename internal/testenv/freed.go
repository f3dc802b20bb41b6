package testenv

import (
	"runtime"
	"testing"
	"weak"
)

// CheckFreed runs the garbage collector, and fails the test if the memory that b points
// into is not freed.
func CheckFreed(t testing.TB, what string, b weak.Pointer[byte]) {
	t.Helper()
	runtime.GC() // twice, because a sync.Pool keeps its items for one
	runtime.GC()
	if b.Value() != nil {
		t.Errorf("%s is kept in memory", what)
	}
}
