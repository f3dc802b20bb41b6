package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/picket-edr/picket/internal/backoff"
)

// A ReplaySource is a source of recorded events: those of a file.
type ReplaySource struct {
	Path string
	// ReadFile calls addEvent with each event of a file in order, and onSkipped for each that
	// cannot be read. It ends with the first error of addEvent.
	ReadFile func(path string, addEvent func(raw []byte) error, onSkipped func(error)) error
	// Speed is the pace relative to the events' own times: 1 as they happened, 10
	// ten times as fast, 0 as fast as possible.
	Speed float64
	// Loops is how often to replay the file; 0 means once, below 0 until stopped.
	// From the second loop on, events get other ids.
	Loops int
}

// A replayPosition is a Position of a ReplaySource, as JSON.
type replayPosition struct {
	File  string `json:"file"`  // hash of the first bytes, to recognise another file
	Loop  int    `json:"loop"`  // 0 is the first
	Event int    `json:"event"` // how many events of the loop have been read or skipped
}

// replayHashedPrefixBytes is how much of a file replayPosition.File covers.
const replayHashedPrefixBytes = 4 << 10

func (p replayPosition) encode() Position {
	b, _ := json.Marshal(p) // strings and numbers always encode
	return Position(b)
}

// startPosition returns where to continue: at the position, if it is of this file, else
// at the beginning.
func (r *ReplaySource) startPosition(saved Position) (replayPosition, error) {
	f, err := os.Open(r.Path)
	if err != nil {
		return replayPosition{}, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyN(h, f, replayHashedPrefixBytes); err != nil && !errors.Is(err, io.EOF) {
		return replayPosition{}, err
	}
	id := hex.EncodeToString(h.Sum(nil)[:16])
	var p replayPosition
	if saved == "" || json.Unmarshal([]byte(saved), &p) != nil || p.File != id {
		p = replayPosition{File: id}
	}
	return p, nil
}

// Events implements Source.
func (r *ReplaySource) Events(ctx context.Context, from Position) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		at, err := r.startPosition(from)
		if err != nil {
			yield(Event{}, fmt.Errorf("replay %s: %w", r.Path, err))
			return
		}
		for ; at.Loop < max(r.Loops, 1) || r.Loops < 0; at = (replayPosition{File: at.File, Loop: at.Loop + 1}) {
			n := at.Event
			for e, err := range r.readOnce(ctx, at) {
				n++
				if !yield(e, err) {
					return
				}
				if _, unreadable := errors.AsType[*UnreadableEventError](err); err != nil && !unreadable {
					return
				}
			}
			if n == 0 || ctx.Err() != nil {
				return
			}
		}
	}
}

// errReplayStopped: nobody wants further events.
var errReplayStopped = errors.New("replay stopped")

// readOnce replays the file from a position to its end. Events that cannot be read are
// counted like the others, so that the ids of those after them stay when they are repaired.
func (r *ReplaySource) readOnce(ctx context.Context, at replayPosition) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		clock := replayClock{speed: r.Speed}
		n, stopped := 0, false
		skip := func(err error) {
			n++
			stopped = stopped || !yield(Event{}, &UnreadableEventError{fmt.Errorf("replay %s: event %d: %w", r.Path, n, err)})
		}
		err := r.ReadFile(r.Path, func(raw []byte) error {
			switch {
			case stopped:
				return errReplayStopped
			case !json.Valid(raw):
				skip(errors.New("it is not valid JSON"))
				return nil
			}
			if n++; n <= at.Event {
				return nil
			}
			raw = withStableID(raw, n, at.Loop)
			position := replayPosition{File: at.File, Loop: at.Loop, Event: n}.encode()
			clock.wait(ctx, raw)
			if stopped = ctx.Err() != nil || !yield(Event{raw, position}, nil); stopped {
				return errReplayStopped
			}
			return nil
		}, skip)
		if err != nil && !stopped {
			yield(Event{}, fmt.Errorf("replay %s: %w", r.Path, err))
		}
	}
}

// withStableID returns an event with an id that is the same however the event is
// batched after a restart, and differs from loop to loop. An event without an id
// gets a hash of its content and its number in the file. A numeric event_id is
// Windows' kind of event, not an id: its content is changed in later loops
// instead, because the server derives the id from the content.
func withStableID(raw []byte, eventNumber, loop int) []byte {
	var top struct {
		EventID json.RawMessage `json:"event_id"`
	}
	if json.Unmarshal(raw, &top) != nil || len(raw) < 2 || raw[0] != '{' {
		return raw
	}
	var id string
	switch {
	case len(top.EventID) == 0:
		sum := sha256.Sum256(append(strconv.AppendInt(nil, int64(eventNumber), 10), raw...))
		id = hex.EncodeToString(sum[:16])
	case loop == 0:
		return raw
	case json.Unmarshal(top.EventID, &id) != nil:
		return prependJSONField(raw, "replay_loop", loop)
	}
	if loop > 0 {
		id += "-" + strconv.Itoa(loop)
	}
	if len(top.EventID) == 0 {
		return prependJSONField(raw, "event_id", id)
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(raw, &all) != nil {
		return raw
	}
	all["event_id"], _ = json.Marshal(id)
	out, err := json.Marshal(all)
	if err != nil {
		return raw
	}
	return out
}

// prependJSONField adds a member to a JSON object.
func prependJSONField(raw []byte, key string, value any) []byte {
	v, _ := json.Marshal(value)
	out := fmt.Appendf(nil, "{%q:%s", key, v)
	if rest := strings.TrimSpace(string(raw[1:])); rest != "}" {
		out = append(out, ',')
	}
	return append(out, raw[1:]...)
}

// A replayClock waits between events as long as passed between them originally.
type replayClock struct {
	speed float64
	first time.Time // of the events
	start time.Time // of this loop
}

func (c *replayClock) wait(ctx context.Context, raw []byte) {
	if c.speed <= 0 {
		return
	}
	t := eventTime(raw)
	if t.IsZero() {
		return
	}
	if c.first.IsZero() {
		c.first, c.start = t, time.Now()
		return
	}
	at := c.start.Add(time.Duration(float64(t.Sub(c.first)) / c.speed))
	if d := time.Until(at); d > 0 {
		backoff.Sleep(ctx, d)
	}
}

// eventTime returns when an event happened, from the field names that senders
// use; zero if it has none of them.
func eventTime(raw []byte) time.Time {
	var top map[string]json.RawMessage
	if json.Unmarshal(raw, &top) != nil {
		return time.Time{}
	}
	for _, name := range []string{"@timestamp", "timestamp", "UtcTime", "EventTime", "TimeCreated", "time"} {
		var s string
		var n float64
		switch v := top[name]; {
		case len(v) == 0:
		case json.Unmarshal(v, &n) == nil && n > 0:
			for n > 1e11 { // milli-, micro- or nanoseconds
				n /= 1000
			}
			return time.UnixMicro(int64(n * 1e6))
		case json.Unmarshal(v, &s) == nil:
			for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999"} {
				if t, err := time.Parse(layout, s); err == nil {
					return t
				}
			}
		}
	}
	return time.Time{}
}
