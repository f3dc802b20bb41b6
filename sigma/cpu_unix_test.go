//go:build unix

package sigma_test

import (
	"syscall"
	"time"
)

// cpuTime returns the processor time of the process, which other programs on
// the machine hardly touch.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
