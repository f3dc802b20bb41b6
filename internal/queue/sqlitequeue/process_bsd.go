//go:build darwin || freebsd

package sqlitequeue

import (
	"errors"
	"os"
	"syscall"
)

// pidSpaceID identifies the space in which PIDs are unique: this host.
func pidSpaceID() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// processStartTime returns "running" if the process exists and "" if not. The start
// time is not known here, because reading it differs between versions of the
// system: leases of a dead process whose PID was reused last until that process
// ends.
func processStartTime(pid int) (startOrNone string, known bool) {
	switch err := syscall.Kill(pid, 0); {
	case err == nil || errors.Is(err, syscall.EPERM):
		return "running", true
	case errors.Is(err, syscall.ESRCH):
		return "", true
	default:
		return "", false
	}
}
