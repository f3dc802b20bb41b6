package filelock_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/picket-edr/picket/internal/filelock"
	"github.com/picket-edr/picket/internal/testenv"
)

// A locked file cannot be locked again until it is released, and says who has it.
func TestAcquire(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	for range 2 {
		l, err := filelock.Acquire(path)
		testenv.Check(t, err)
		_, err = filelock.Acquire(path)
		if held, ok := errors.AsType[*filelock.HeldError](err); !ok || held.PID != strconv.Itoa(os.Getpid()) {
			t.Errorf("a second lock: %v", err)
		}
		testenv.Check(t, l.Unlock())
	}
}
