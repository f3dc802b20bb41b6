package redisqueue_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisqueue"
	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/testenv"
)

// TestGolden opens a queue that an earlier version wrote, whose keys testdata has
// as commands. It has the messages "retried", which could not be stored, "leased",
// by a consumer that is gone, and "waiting" and "other shard", and two dead
// letters.
func TestGolden(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	load(t, s, "testdata/queue-v1.redis")
	q := open(t, s.URL(), redisqueue.Options{Lease: time.Second})

	at := time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC)
	message := func(id, agent string, events int) queue.Message {
		b := picket.Batch{ID: id, Received: at}
		for i := range events {
			e := fmt.Sprintf("%s/%d", id, i)
			b.Events = append(b.Events, picket.Event{ID: e, AgentID: "agent-1", Host: "host-1", Type: "process", OS: "linux",
				Time: at.Add(-time.Second), Raw: fmt.Appendf(nil, `{"event_id":"%s","cmdline":"id -u"}`, e)})
		}
		return queue.Message{ID: id, Agent: agent, Events: events, Payload: b.Encode(nil)}
	}
	page, err := q.DeadLetters(t.Context(), 0, 10)
	deadLetters := page.DeadLetters
	testenv.Check(t, err)
	want := []queue.DeadLetter{
		{ID: 1839148313962560, Reason: queue.Rejected, Cause: "event_type: missing", AgentID: "agent-2", EventID: "bad", Events: 1, Time: at, Payload: []byte("{}")},
		{ID: 1839148313962496, Reason: queue.Failed, Cause: "detect: panic: oops", AgentID: "agent-1", EventID: "buried/1", Events: 1, Time: at,
			Payload: message("buried.1", "", 1).Payload},
	}
	deadLetters[1].Payload = recode(t, deadLetters[1].Payload)
	if diff := cmp.Diff(want, deadLetters); diff != "" {
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}
	st, err := q.Stats(t.Context())
	testenv.Check(t, err)
	wantStats := queue.Stats{Pending: 3, PendingEvents: 4, Leased: 1, LeasedEvents: 1, Dead: 2, Accepted: 10, Rejected: 1, Failed: 1, Bytes: 667, MaxBytes: 4 << 30}
	if diff := cmp.Diff(wantStats, st, cmpopts.IgnoreFields(queue.Stats{}, "OldestAge", "InRate", "OutRate")); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}

	got := map[string]queue.Delivery{}
	for len(got) < 4 {
		ds, err := q.Receive(t.Context(), 10)
		testenv.Check(t, err)
		for _, d := range ds {
			d.Payload = recode(t, d.Payload)
			got[d.ID] = d
		}
	}
	const ms = 1796043275351
	wantDeliveries := map[string]queue.Delivery{
		"retried":     {Message: message("retried", "agent-1", 2), Attempt: 2, Enqueued: time.UnixMilli(ms).UTC()},
		"leased":      {Message: message("leased", "agent-1", 1), Attempt: 2, Lost: 1, Enqueued: time.UnixMilli(ms + 1).UTC()},
		"waiting":     {Message: message("waiting", "agent-1", 1), Attempt: 1, Enqueued: time.UnixMilli(ms + 3).UTC()},
		"other shard": {Message: message("other shard", "agent-2", 1), Attempt: 1, Enqueued: time.UnixMilli(ms + 3).UTC()},
	}
	if diff := cmp.Diff(wantDeliveries, got, cmpopts.IgnoreFields(queue.Delivery{}, "Receipt")); diff != "" {
		t.Errorf("received (-want +got):\n%s", diff)
	}
	for _, d := range got {
		testenv.Check(t, q.Ack(t.Context(), d))
	}
	// Its batches are recognized as duplicates.
	for _, id := range []string{"retried", "acked", "waiting"} {
		testenv.Check(t, q.Enqueue(t.Context(), message(id, "agent-1", 1)))
	}
	if n, err := q.Requeue(t.Context()); n != 2 || err != nil {
		t.Errorf("requeued %d dead letters: %v", n, err)
	}
	st, err = q.Stats(t.Context())
	testenv.Check(t, err)
	if st.Pending != 2 || st.Leased != 0 || st.Dead != 0 || st.Accepted != 12 || st.Rejected != 1 || st.Failed != 1 {
		t.Errorf("stats %+v", st)
	}
}

// load runs commands from a file: one per line, arguments that need it quoted
// as in Go.
func load(t *testing.T, s *redistest.Server, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	testenv.Check(t, err)
	for line := range strings.Lines(string(text)) {
		var args []any
		for rest := strings.TrimSpace(line); rest != ""; rest = strings.TrimSpace(rest) {
			arg, err := strconv.QuotedPrefix(rest)
			if err != nil {
				arg, _, _ = strings.Cut(rest, " ")
				args = append(args, arg)
			} else {
				value, err := strconv.Unquote(arg)
				testenv.Check(t, err)
				args = append(args, value)
			}
			rest = rest[len(arg):]
		}
		testenv.Check(t, s.Client().Do(t.Context(), args...).Err())
	}
}

// recode encodes a batch as this version of the compressor does.
func recode(t *testing.T, payload []byte) []byte {
	t.Helper()
	b, err := picket.DecodeBatch(payload)
	testenv.Check(t, err)
	return b.Encode(nil)
}
