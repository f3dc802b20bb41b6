// Package filelock locks a file, so that one process at a time does something. A lock
// ends with its process.
package filelock

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// A Lock is a locked file.
type Lock struct{ f *os.File }

// errLocked: another process holds the lock of a file.
var errLocked = errors.New("locked")

// A HeldError says that another process holds the lock.
type HeldError struct{ PID string }

func (e *HeldError) Error() string { return "process " + e.PID + " holds the lock" }

// Acquire locks the file at path, and creates it if it does not exist. If another process
// has locked it, the error is a *HeldError.
func Acquire(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	switch err := lockFile(f); {
	case errors.Is(err, errLocked):
		pid, _ := io.ReadAll(io.LimitReader(f, 20))
		f.Close()
		return nil, &HeldError{strings.TrimSpace(string(pid))}
	case err != nil:
		f.Close()
		return nil, err
	}
	// The PID is for people; without it, the lock holds all the same.
	if f.Truncate(0) == nil {
		fmt.Fprintln(f, os.Getpid())
	}
	return &Lock{f}, nil
}

// Unlock releases the lock.
func (l *Lock) Unlock() error { return l.f.Close() }
