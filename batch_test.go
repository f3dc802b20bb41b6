package picket_test

import (
	"encoding/hex"
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
			ID: string(rune('a' + i)), Sender: "collector:c", Index: string(rune('0' + i)), AgentID: "agent", Host: "høst", Type: "process", OS: "linux",
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

// Queues, dead letters and buffers on disk hold batches of both versions.
func TestGoldenBatch(t *testing.T) {
	want := batch(`{"a":1}`, `{"b":"ü"}`)
	for version, text := range map[byte]string{
		1: "0128b52ffd04008d020084040562617463688089818283898506020161056167656e740568c3b873740770726f63657373056c696e757880f9e398e88885060701620a7b2261223a317d7b2262223a22c3bc227d015418051f860203f4d80b",
		2: "0228b52ffd04000d030074050562617463688089818283898506020161056167656e740568c3b873740770726f63657373056c696e75780b636f6c6c6563746f723a63013080f9e398e8888506070162310a7b2261223a317d7b2262223a22c3bc227d0210059610822dcdd9f41231",
	} {
		encoded, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if version == 1 {
			for i := range want.Events {
				want.Events[i].Sender, want.Events[i].Index = "", ""
			}
		} else {
			want = batch(`{"a":1}`, `{"b":"ü"}`)
		}
		got, err := picket.DecodeBatch(encoded)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("version %d (-want +got):\n%s", version, diff)
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
		testenv.CheckAllocated(t, 2<<20+64*(len(p)+picket.DecodedBytes(p)), func() { b, err = picket.DecodeBatch(p) })
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
