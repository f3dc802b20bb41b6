package queuetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/testenv"
)

func withTimeout(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Timeout)
	t.Cleanup(cancel)
	return ctx
}

func message(id string, events int) queue.Message {
	return queue.Message{ID: id, Events: events, Payload: encodedBatch(id, events)}
}

// encodedBatch encodes a batch of small events.
func encodedBatch(id string, events int) []byte {
	b := batch(id, events)
	return b.Encode(nil)
}

// eventTime is the time of all events.
var eventTime = time.UnixMicro(1_700_000_000_000_000).UTC()

func batch(id string, events int) picket.Batch {
	b := picket.Batch{ID: id, Received: eventTime}
	for i := range events {
		e := picket.Event{ID: fmt.Sprintf("%s/%d", id, i), AgentID: "agent", Host: "host", Type: "process", OS: "linux", Time: eventTime.Add(-time.Second)}
		e.Raw = fmt.Appendf(nil, `{"event_id":%q,"a":[]}`, e.ID)
		b.Events = append(b.Events, e)
	}
	return b
}

// messageOfSize returns a message with one event of about so many bytes, which do
// not compress well.
func messageOfSize(id string, bytes int) queue.Message {
	b := batch(id, 1)
	rng := rand.New(rand.NewPCG(3, uint64(bytes)))
	text := make([]byte, bytes)
	for i := range text {
		text[i] = 'a' + byte(rng.IntN(26))
	}
	b.Events[0].Raw = fmt.Appendf(nil, `{"event_id":%q,"text":"%s"}`, id, text)
	return queue.Message{ID: id, Events: 1, Payload: b.Encode(nil)}
}

func deadLetter(event string) queue.DeadLetter {
	return queue.DeadLetter{Cause: "cause of " + event, AgentID: "agent", EventID: event, Events: 1,
		Time: eventTime, Payload: encodedBatch(event, 1)}
}

func enqueue(t *testing.T, q Queue, ms ...queue.Message) {
	t.Helper()
	for _, m := range ms {
		if err := q.Enqueue(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
}

// receive receives exactly n messages, in as many calls as needed.
func receive(t *testing.T, q Queue, n int) []queue.Delivery {
	t.Helper()
	var all []queue.Delivery
	for len(all) < n {
		ds, err := q.Receive(withTimeout(t), n-len(all))
		if err != nil {
			t.Fatalf("after %d of %d messages: %v", len(all), n, err)
		}
		if len(ds) == 0 || len(ds) > n-len(all) {
			t.Fatalf("Receive(%d) gave %d messages", n-len(all), len(ds))
		}
		all = append(all, ds...)
	}
	return all
}

func batchIDs(ds []queue.Delivery) []string {
	var s []string
	for _, d := range ds {
		s = append(s, d.ID)
	}
	return s
}

// predictableStats returns Stats without the fields that a test cannot predict.
func predictableStats(t *testing.T, q Queue) queue.Stats {
	t.Helper()
	s, err := q.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Bytes, s.MaxBytes, s.OldestAge, s.InRate, s.OutRate = 0, 0, 0, 0, 0
	return s
}

func wantStats(t *testing.T, q Queue, want queue.Stats) {
	t.Helper()
	if diff := cmp.Diff(want, predictableStats(t, q)); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
}

func wantIDs(t *testing.T, ds []queue.Delivery, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, batchIDs(ds)); diff != "" {
		t.Fatalf("messages (-want +got):\n%s", diff)
	}
}
