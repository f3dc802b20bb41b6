package testenv

import (
	"runtime"
	"testing"
)

// CheckAllocated fails the test if f allocates more than limit bytes in all, whether
// they are freed meanwhile or not. Nothing else may allocate much at the same time.
func CheckAllocated(t testing.TB, limit int, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > uint64(limit) {
		t.Fatalf("%d bytes allocated, more than %d", n, limit)
	}
}
