package picket_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/testenv"
)

func batch(raws ...string) picket.Batch {
	received := time.UnixMicro(1_700_000_000_123_456).UTC()
	b := picket.Batch{ID: "batch", Received: received, Events: []picket.Event{}}
	for i, raw := range raws {
		b.Events = append(b.Events, picket.Event{
			ID: string(rune('a' + i)), AgentID: "agent", Host: "høst", Type: "process", OS: "linux",
			Time: received.Add(-time.Hour), Received: received, Raw: []byte(raw),
		})
	}
	return b
}

func TestBatchRoundTrip(t *testing.T) {
	for _, want := range []picket.Batch{batch(), batch(`{}`), batch(`{"a":1}`, ``, `{"b":"ü"}`), {Received: time.UnixMicro(-1).UTC(), Events: []picket.Event{}}} {
		got, err := picket.DecodeBatch(want.Encode([]byte("before"))[len("before"):])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(x, y []byte) bool { return string(x) == string(y) })); diff != "" {
			t.Error(diff)
		}
	}
}

// No damage goes unseen where it can be told, and none is more than an error.
func TestDamagedBatch(t *testing.T) {
	b := batch(`{"a":1}`, `{"b":2}`)
	whole := b.Encode(nil)
	for n := range whole {
		if _, err := picket.DecodeBatch(whole[:n]); !errors.Is(err, picket.ErrInvalid) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
}

func FuzzBatch(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1})
	b := batch(`{"a":1}`, `{"b":2}`)
	f.Add(b.Encode(nil))
	many := batch(slices.Repeat([]string{"{}"}, 20_000)...)
	for i := range many.Events {
		many.Events[i] = picket.Event{Time: many.Received, Received: many.Received}
	}
	f.Add(many.Encode(nil))
	f.Fuzz(func(t *testing.T, p []byte) {
		var b picket.Batch
		var err error
		testenv.CheckAllocated(t, 2<<20+64*(len(p)+picket.EncodedSize(p)), func() { b, err = picket.DecodeBatch(p) })
		if err != nil {
			if !errors.Is(err, picket.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		again, err := picket.DecodeBatch(b.Encode(nil))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b, again); diff != "" {
			t.Error(diff)
		}
	})
}
