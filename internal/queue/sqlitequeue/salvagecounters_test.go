package sqlitequeue_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/testenv"
)

// What a queue has counted since ever is what its damaged file says, without what is lost.
func TestSalvageKeepsCounters(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, path, sqlitequeue.Options{})
	rejected := queue.DeadLetter{Cause: "bad", AgentID: "a", EventID: "e", Events: 1}
	for i := range 6 {
		m := message(string(rune('a'+i)), 30<<10)
		m.Events, m.Payload = 5, bytes.Repeat([]byte{1}, 30<<10)
		testenv.Check(t, q.Enqueue(t.Context(), m, rejected))
	}
	ds, err := q.Receive(t.Context(), 2)
	testenv.Check(t, err)
	testenv.Check(t, q.Ack(t.Context(), ds...))
	before := stats(t, q)
	testenv.Check(t, q.Close())
	file, err := os.ReadFile(path)
	testenv.Check(t, err)
	clear(file[len(file)-20000:]) // of the last message
	testenv.Check(t, os.WriteFile(path, file, 0o600))
	report, err := sqlitequeue.Salvage(path, func(payload []byte, _ int) bool { return !bytes.Contains(payload, []byte{0}) })
	testenv.Check(t, err)
	after := stats(t, open(t, path, sqlitequeue.Options{}))
	if report.LostEvents == 0 || report.LostEvents == before.PendingEvents {
		t.Errorf("report %+v", report)
	}
	lost := before.PendingEvents - after.PendingEvents
	if after.Accepted != before.Accepted-lost || after.Rejected != before.Rejected || after.Dead != before.Dead {
		t.Errorf("%d events lost; counters\n%+v, before\n%+v", lost, after, before)
	}
}
