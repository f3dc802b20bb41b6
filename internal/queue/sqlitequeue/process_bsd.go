//go:build darwin || freebsd

package sqlitequeue

import (
	"errors"
	"os"
	"syscall"
)

// processSpace names where a pid means one process: this machine.
func processSpace() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// processStart tells whether the process pid is there; "" when not. When it
// began takes a system call that differs by version: a pid that another
// process got since keeps its leases until that ends.
func processStart(pid int) (string, bool) {
	switch err := syscall.Kill(pid, 0); {
	case err == nil || errors.Is(err, syscall.EPERM):
		return "running", true
	case errors.Is(err, syscall.ESRCH):
		return "", true
	default:
		return "", false
	}
}
