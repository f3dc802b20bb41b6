package redisurl

import (
	"strings"
	"testing"
)

// A warning suggests --redis-durability fsync only where picket accepts that.
func TestWarningsSuggestWhatWorks(t *testing.T) {
	everySecond := Settings{AppendOnly: true, AppendFsync: "everysec", WaitAOF: true}
	old := everySecond
	old.WaitAOF = false
	for _, c := range []struct {
		name     string
		s        Settings
		wait     FsyncWait
		warnings int
		suggests bool
	}{
		{"Redis Streams", everySecond, FsyncNotAwaited, 1, true},
		{"Redis before 7.2", old, FsyncNotAwaited, 1, false},
		{"Celery", everySecond, FsyncUnsupported, 1, false},
		{"fsync awaited", everySecond, FsyncAwaited, 0, false},
	} {
		ws := c.s.DurabilityWarnings(c.wait)
		if len(ws) != c.warnings || strings.Contains(strings.Join(ws, "\n"), "--redis-durability") != c.suggests {
			t.Errorf("%s: %q", c.name, ws)
		}
	}
}
