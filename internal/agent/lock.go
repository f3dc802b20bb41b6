package agent

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/picket-edr/picket/internal/filelock"
)

// ErrSpoolInUse: another agent has locked the spool.
var ErrSpoolInUse = errors.New("another agent uses it")

// LockSpool locks the spool in a directory. If another agent has it, the error is
// ErrSpoolInUse.
func LockSpool(dir string) (*filelock.Lock, error) {
	l, err := filelock.Acquire(filepath.Join(dir, "agent.lock"))
	if held, ok := errors.AsType[*filelock.HeldError](err); ok {
		return nil, fmt.Errorf("lock spool %s: %w: process %s", dir, ErrSpoolInUse, held.PID)
	}
	if err != nil {
		return nil, fmt.Errorf("lock spool %s: %w", dir, err)
	}
	return l, nil
}
