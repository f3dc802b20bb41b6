package sqlitequeue_test

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/testenv"
)

// goldenTime is when everything in the golden files happened.
var goldenTime = time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC)

// goldenMarker is the commit marker of queue-v1.db: file, seq, accepted events
// and CRC.
const goldenMarker = "2ac83cef9b7c742b" + "0a00000000000000" + "0900000000000000" + "c9a1544f"

// TestVersion1 opens a file of version 1. It has the messages "retried", which
// could not be stored, "leased", by a process of another machine that is gone,
// and "waiting", and two dead letters.
func TestVersion1(t *testing.T) {
	t.Parallel()
	path := golden(t)
	marker, err := hex.DecodeString(goldenMarker)
	testenv.Check(t, err)
	testenv.Check(t, os.WriteFile(path+"-last", marker, 0o600))
	for range 2 { // the second time, the file has been upgraded
		var log testenv.Buffer
		q, err := sqlitequeue.Open(path, sqlitequeue.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		testenv.Check(t, err)
		testenv.Until(t, "the lease ends", func() bool { return stats(t, q).Leased == 0 })
		ds, err := q.Peek(t.Context(), 10)
		testenv.Check(t, err)
		want := []queue.Delivery{
			{Message: goldenMessage("retried", 2), Attempt: 2, Enqueued: goldenTime},
			{Message: goldenMessage("leased", 1), Attempt: 2, Enqueued: goldenTime},
			{Message: goldenMessage("waiting", 1), Attempt: 1, Enqueued: goldenTime},
		}
		if diff := cmp.Diff(want, recoded(t, ds), cmpopts.IgnoreFields(queue.Delivery{}, "Receipt")); diff != "" {
			t.Errorf("messages (-want +got):\n%s", diff)
		}
		page, err := q.DeadLetters(t.Context(), 0, 10)
		deadLetters := page.DeadLetters
		testenv.Check(t, err)
		buried := goldenMessage("buried.1", 1).Payload
		wantDeadLetters := []queue.DeadLetter{
			{ID: 7, Reason: queue.Rejected, Cause: "event_type: missing", AgentID: "agent-2", EventID: "bad", Events: 1, Time: goldenTime, Payload: []byte("{}")},
			{ID: 5, Reason: queue.Failed, Cause: "detect: panic: oops", AgentID: "agent-1", EventID: "buried/1", Events: 1, Time: goldenTime, Payload: buried},
		}
		deadLetters[1].Payload = recode(t, deadLetters[1].Payload)
		if diff := cmp.Diff(wantDeadLetters, deadLetters); diff != "" {
			t.Errorf("dead letters (-want +got):\n%s", diff)
		}
		wantStats := queue.Stats{Pending: 3, PendingEvents: 4, Dead: 2, Accepted: 9, Rejected: 1, Failed: 1, Bytes: 548, MaxBytes: 4 << 30}
		if diff := cmp.Diff(wantStats, stats(t, q), cmpopts.IgnoreFields(queue.Stats{}, "OldestAge", "InRate", "OutRate")); diff != "" {
			t.Errorf("stats (-want +got):\n%s", diff)
		}
		if strings.Contains(log.String(), "damaged") {
			t.Errorf("damage was reported: %s", &log)
		}
		testenv.Check(t, q.Close())
	}
	q := open(t, path, sqlitequeue.Options{})
	var got []string
	for len(got) < 3 {
		ds, err := q.Receive(t.Context(), 10)
		testenv.Check(t, err)
		for _, d := range ds {
			got = append(got, fmt.Sprint(d.ID, " ", d.Attempt, " ", d.Lost))
		}
		testenv.Check(t, q.Ack(t.Context(), ds...))
	}
	if diff := cmp.Diff([]string{"leased 2 1", "retried 2 0", "waiting 1 0"}, got); diff != "" {
		t.Errorf("received (-want +got):\n%s", diff)
	}
}

// TestIgnoreLost: with IgnoreLost, losses are not counted.
func TestIgnoreLost(t *testing.T) {
	t.Parallel()
	q := open(t, golden(t), sqlitequeue.Options{IgnoreLost: true})
	testenv.Until(t, "the lease ends", func() bool { return stats(t, q).Leased == 0 })
	ds, err := q.Receive(t.Context(), 10)
	testenv.Check(t, err)
	for _, d := range ds {
		if d.Lost != 0 {
			t.Errorf("message %s was lost %d times", d.ID, d.Lost)
		}
	}
	if len(ds) != 3 {
		t.Errorf("received %d messages, want 3", len(ds))
	}
}

// TestMarkerAhead: a marker that is ahead of the file means lost transactions,
// which are logged with their number and that of their events.
func TestMarkerAhead(t *testing.T) {
	t.Parallel()
	path := golden(t)
	marker, err := hex.DecodeString("2ac83cef9b7c742b" + "0c00000000000000" + "0e00000000000000" + "2b65fd92")
	testenv.Check(t, err)
	testenv.Check(t, os.WriteFile(path+"-last", marker, 0o600))
	var log testenv.Buffer
	q, err := sqlitequeue.Open(path, sqlitequeue.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	testenv.Check(t, err)
	testenv.Check(t, q.Close())
	if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "transactions=2 events=5") {
		t.Errorf("log: %s", &log)
	}
}

// TestNewerVersion: a file of a newer version is refused.
func TestNewerVersion(t *testing.T) {
	t.Parallel()
	path := golden(t)
	b, err := os.ReadFile(path)
	testenv.Check(t, err)
	b[63] = 99 // the last byte of user_version
	testenv.Check(t, os.WriteFile(path, b, 0o600))
	_, err = sqlitequeue.Open(path, sqlitequeue.Options{})
	if err == nil || !strings.Contains(err.Error(), "version 99") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v", err)
	}
}

func golden(t *testing.T) (path string) {
	t.Helper()
	b, err := os.ReadFile("testdata/queue-v1.db.gz")
	testenv.Check(t, err)
	z, err := gzip.NewReader(bytes.NewReader(b))
	testenv.Check(t, err)
	b, err = io.ReadAll(z)
	testenv.Check(t, err)
	path = filepath.Join(t.TempDir(), "queue.db")
	testenv.Check(t, os.WriteFile(path, b, 0o600))
	return path
}

func goldenMessage(id string, events int) queue.Message {
	b := picket.Batch{ID: id, Received: goldenTime}
	for i := range events {
		e := fmt.Sprintf("%s/%d", id, i)
		b.Events = append(b.Events, picket.Event{ID: e, AgentID: "agent-1", Host: "host-1", Type: "process", OS: "linux",
			Time: goldenTime.Add(-time.Second), Raw: fmt.Appendf(nil, `{"event_id":"%s","cmdline":"id -u"}`, e)})
	}
	return queue.Message{ID: id, Events: events, Payload: b.Encode(nil)}
}

// recode encodes a batch as this version of the compressor does.
func recode(t *testing.T, payload []byte) []byte {
	t.Helper()
	b, err := picket.DecodeBatch(payload)
	testenv.Check(t, err)
	return b.Encode(nil)
}

func recoded(t *testing.T, ds []queue.Delivery) []queue.Delivery {
	t.Helper()
	for i := range ds {
		ds[i].Payload = recode(t, ds[i].Payload)
	}
	return ds
}

func stats(t *testing.T, q *sqlitequeue.Queue) queue.Stats {
	t.Helper()
	s, err := q.Stats(t.Context())
	testenv.Check(t, err)
	return s
}
