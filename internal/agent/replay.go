package agent

import (
	"bufio"
	"compress/gzip"
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

	"github.com/klauspost/compress/zstd"

	"github.com/picket-edr/picket"
)

// Replay is a source of recorded events: a file of JSON, as an array, a value
// a line, or one after the other; .gz and .zst are unpacked.
type Replay struct {
	Path string
	// Speed paces the events by their own times: 1 as they happened, 10 ten
	// times as fast, 0 as fast as they are taken.
	Speed float64
	// Loops is how often to go through the file; 0 means once, below 0 until
	// stopped. From the second time on, events get other ids.
	Loops int
}

// Events implements Source.
func (r *Replay) Events(ctx context.Context) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for loop := 0; loop < max(r.Loops, 1) || r.Loops < 0; loop++ {
			n := 0
			for e, err := range r.once(ctx, loop) {
				n++
				if !yield(e, err) || err != nil {
					return
				}
			}
			if n == 0 || ctx.Err() != nil {
				return
			}
		}
	}
}

func (r *Replay) once(ctx context.Context, loop int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		fail := func(err error) { yield(nil, fmt.Errorf("replay %s: %w", r.Path, err)) }
		f, err := os.Open(r.Path)
		if err != nil {
			fail(err)
			return
		}
		defer f.Close()
		src, done, err := unpack(r.Path, f)
		if err != nil {
			fail(err)
			return
		}
		defer done()
		p := pace{speed: r.Speed}
		n := 0
		for raw, err := range values(src) {
			if err != nil {
				fail(err)
				return
			}
			n++
			raw = named(raw, n, loop)
			if p.wait(ctx, raw); ctx.Err() != nil || !yield(raw, nil) {
				return
			}
		}
	}
}

func unpack(path string, r io.Reader) (io.Reader, func(), error) {
	switch {
	case strings.HasSuffix(path, ".gz"):
		z, err := gzip.NewReader(bufio.NewReader(r))
		return z, func() {}, err
	case strings.HasSuffix(path, ".zst"):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	default:
		return r, func() {}, nil
	}
}

// values yields the values of a stream: those of its one array, or its own.
func values(r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		buf := bufio.NewReaderSize(r, 64<<10)
		first, err := firstByte(buf)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				yield(nil, err)
			}
			return
		}
		dec := json.NewDecoder(buf)
		if first == '[' {
			dec.Token()
		}
		for n := 1; dec.More(); n++ {
			var raw json.RawMessage
			if err := dec.Decode(&raw); err != nil {
				yield(nil, fmt.Errorf("event %d: %w: %w", n, err, picket.ErrInvalid))
				return
			}
			if !yield(raw, nil) {
				return
			}
		}
		if first == '[' {
			if _, err := dec.Token(); err != nil {
				yield(nil, fmt.Errorf("the array ends early: %w: %w", err, picket.ErrInvalid))
			}
		}
	}
}

// firstByte looks at the first byte that is not space, past a byte order mark.
func firstByte(r *bufio.Reader) (byte, error) {
	if b, _ := r.Peek(3); string(b) == "\ufeff" {
		r.Discard(3)
	}
	for {
		b, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		if b != ' ' && b != '\t' && b != '\r' && b != '\n' {
			return b, r.UnreadByte()
		}
	}
}

// named sees to it that the server knows an event again, however it is batched
// after a restart, and that it is another in each loop. An event without an id
// gets one made of its content and its number in the file. Where event_id is a
// number it is Windows' kind of event, and the content changes with the loop
// instead, from which the server makes an id.
func named(raw []byte, n, loop int) []byte {
	var top struct {
		EventID json.RawMessage `json:"event_id"`
	}
	if json.Unmarshal(raw, &top) != nil || len(raw) < 2 || raw[0] != '{' {
		return raw
	}
	var id string
	switch {
	case len(top.EventID) == 0:
		sum := sha256.Sum256(append(strconv.AppendInt(nil, int64(n), 10), raw...))
		id = hex.EncodeToString(sum[:16])
	case loop == 0:
		return raw
	case json.Unmarshal(top.EventID, &id) != nil:
		return prepend(raw, "replay_loop", loop)
	}
	if loop > 0 {
		id += "-" + strconv.Itoa(loop)
	}
	if len(top.EventID) == 0 {
		return prepend(raw, "event_id", id)
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

func prepend(raw []byte, key string, value any) []byte {
	v, _ := json.Marshal(value)
	out := fmt.Appendf(nil, "{%q:%s", key, v)
	if rest := strings.TrimSpace(string(raw[1:])); rest != "}" {
		out = append(out, ',')
	}
	return append(out, raw[1:]...)
}

// A pace waits as long between events as passed between them.
type pace struct {
	speed float64
	first time.Time // of the events
	start time.Time // of this loop
}

func (p *pace) wait(ctx context.Context, raw []byte) {
	if p.speed <= 0 {
		return
	}
	t := eventTime(raw)
	if t.IsZero() {
		return
	}
	if p.first.IsZero() {
		p.first, p.start = t, time.Now()
		return
	}
	at := p.start.Add(time.Duration(float64(t.Sub(p.first)) / p.speed))
	if d := time.Until(at); d > 0 {
		sleep(ctx, d)
	}
}

// eventTime reads when an event happened, by the names that senders use; zero
// when it does not say.
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
