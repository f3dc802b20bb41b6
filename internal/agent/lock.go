package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// A SpoolLock keeps other agents off a spool. It ends with the process.
type SpoolLock struct{ f *os.File }

// errLocked: another process holds the lock of a file.
var errLocked = errors.New("locked")

// ErrSpoolInUse: another agent has locked the spool.
var ErrSpoolInUse = errors.New("another agent uses it")

// LockSpool locks the spool in a directory. If another agent has it, the error is
// ErrSpoolInUse.
func LockSpool(dir string) (*SpoolLock, error) {
	f, err := os.OpenFile(filepath.Join(dir, "agent.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock spool: %w", err)
	}
	switch err := lockFile(f); {
	case errors.Is(err, errLocked):
		pid, _ := io.ReadAll(io.LimitReader(f, 20))
		f.Close()
		return nil, fmt.Errorf("lock spool %s: %w: process %s", dir, ErrSpoolInUse, strings.TrimSpace(string(pid)))
	case err != nil:
		f.Close()
		return nil, fmt.Errorf("lock spool %s: %w", dir, err)
	}
	// The PID is for people; without it, the lock holds all the same.
	if f.Truncate(0) == nil {
		fmt.Fprintln(f, os.Getpid())
	}
	return &SpoolLock{f}, nil
}

// Unlock releases the lock.
func (l *SpoolLock) Unlock() error { return l.f.Close() }
