package diskbuffer

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/testenv"
)

var sample = queue.EnqueueRequest{
	Message: queue.Message{ID: "b", Agent: "a", Events: 300, Payload: []byte("payload")},
	Rejected: []queue.DeadLetter{
		{Reason: queue.Rejected, Cause: "why", AgentID: "a2", EventID: "e", Events: 1, Time: time.UnixMicro(1_767_323_045_678_901).UTC(), Payload: []byte("{}")},
		{Reason: queue.Rejected, Cause: "no time", Events: 1, Payload: []byte{}},
	},
}

// goldenRecord is sample as version 1 has it. Buffers on disk hold such
// records: it never changes.
const goldenRecord = "0001" + "0162" + "0161" + "ac02" + "077061796c6f6164" + "02" +
	"0872656a6563746564" + "03776879" + "026132" + "0165" + "01" + "eabcbae5ded7a306" + "027b7d" +
	"0872656a6563746564" + "076e6f2074696d65" + "00" + "00" + "01" + "ffffddf2dfffdfdc01" + "00"

func TestRecord(t *testing.T) {
	p := appendEnqueueRequest(nil, &sample)
	if got := hex.EncodeToString(p); got != goldenRecord {
		t.Errorf("encoded as\n%s, want\n%s", got, goldenRecord)
	}
	golden, err := hex.DecodeString(goldenRecord)
	testenv.Check(t, err)
	got, err := DecodeEnqueueRequest(golden)
	if diff := cmp.Diff(sample, got); diff != "" || err != nil {
		t.Errorf("error %v, record (-want +got):\n%s", err, diff)
	}
	for n := range p {
		if _, err := DecodeEnqueueRequest(p[:n]); !errors.Is(err, picket.ErrInvalid) {
			t.Errorf("the first %d bytes: error %v, want ErrInvalid", n, err)
		}
	}
}

// TestGobRecords forwards a buffer of gobs, as earlier versions wrote them.
func TestGobRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spill.db")
	testenv.Check(t, os.WriteFile(path, unzip(t, "testdata/spill-gob.db.gz"), 0o600))
	next, err := sqlitequeue.Open(filepath.Join(t.TempDir(), "next.db"), sqlitequeue.Options{})
	testenv.Check(t, err)
	buffer, err := sqlitequeue.Open(path, sqlitequeue.Options{})
	testenv.Check(t, err)
	requests := make(chan queue.EnqueueRequest, 3)
	q, err := New(recorder{next, requests}, buffer, Options{})
	testenv.Check(t, err)
	got := map[string]queue.EnqueueRequest{}
	for range 3 {
		r := <-requests
		b, err := picket.DecodeBatch(r.Message.Payload)
		testenv.Check(t, err)
		r.Message.Payload = b.Encode(nil) // as this version of the compressor does
		got[r.Message.ID] = r
	}
	testenv.Check(t, q.Close())
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC)
	message := func(id string, events int, agent string) queue.Message {
		b := picket.Batch{ID: id, Received: at}
		for i := range events {
			e := fmt.Sprintf("%s/%d", id, i)
			b.Events = append(b.Events, picket.Event{ID: e, AgentID: "agent-1", Host: "host-1", Type: "process", OS: "linux",
				Time: at.Add(-time.Second), Raw: fmt.Appendf(nil, `{"event_id":"%s","cmdline":"id -u"}`, e)})
		}
		return queue.Message{ID: id, Events: events, Payload: b.Encode(nil), Agent: agent}
	}
	want := map[string]queue.EnqueueRequest{
		"whole": {Message: message("whole", 2, "agent-1")},
		"partly": {Message: message("partly", 1, "agent-1"), Rejected: []queue.DeadLetter{
			{Reason: queue.Rejected, Cause: "event_type: missing", AgentID: "agent-2", EventID: "bad", Events: 1, Time: at, Payload: []byte("{}")},
			{ID: 7, Reason: queue.Rejected, Cause: "second", Events: 1},
		}},
		"refused": {Message: message("refused", 0, ""), Rejected: []queue.DeadLetter{
			{Reason: queue.Rejected, Cause: "all of it", AgentID: "agent-3", EventID: "worse", Events: 1, Time: at, Payload: []byte("[]")},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("forwarded (-want +got):\n%s", diff)
	}
}

// A recorder is a queue that sends the requests it gets to a channel.
type recorder struct {
	*sqlitequeue.Queue
	requests chan queue.EnqueueRequest
}

func (r recorder) EnqueueAll(_ context.Context, rs ...queue.EnqueueRequest) error {
	for _, request := range rs {
		r.requests <- request
	}
	return nil
}

func unzip(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	testenv.Check(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	testenv.Check(t, err)
	b, err := io.ReadAll(z)
	testenv.Check(t, err)
	return b
}
