package testenv

import (
	"runtime"
	"testing"
	"weak"
)

// CheckFreed runs the garbage collector until the memory that b points to is freed, which
// a sync.Pool or a goroutine that ends delays. It fails the test if it never is.
func CheckFreed(t testing.TB, what string, b weak.Pointer[byte]) {
	t.Helper()
	Until(t, what+" is freed", func() bool {
		runtime.GC()
		return b.Value() == nil
	})
}
