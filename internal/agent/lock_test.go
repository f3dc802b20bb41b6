package agent_test

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/agent"
	"github.com/picket-edr/picket/internal/testenv"
)

// A spool has one agent at a time.
func TestLockSpool(t *testing.T) {
	dir := t.TempDir()
	lock, err := agent.LockSpool(dir)
	testenv.Check(t, err)
	if _, err := agent.LockSpool(dir); !errors.Is(err, agent.ErrSpoolInUse) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("locked twice: %v", err)
	}
	testenv.Check(t, lock.Unlock())
	lock, err = agent.LockSpool(dir)
	testenv.Check(t, err)
	testenv.Check(t, lock.Unlock())
}
