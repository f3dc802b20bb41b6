package sqlitestore

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/picket-edr/picket"
)

// frameSize is how many bytes of events a frame takes before the next begins:
// large enough to compress well, small enough to unpack for one event.
const frameSize = 512 << 10

// A frame holds the bytes of consecutive events: their lengths, then the events.
func encodeFrame(evs []picket.Event) []byte {
	size := 0
	for i := range evs {
		size += len(evs[i].Raw) + binary.MaxVarintLen32
	}
	out := make([]byte, 0, size)
	for i := range evs {
		out = binary.AppendUvarint(out, uint64(len(evs[i].Raw)))
	}
	for i := range evs {
		out = append(out, evs[i].Raw...)
	}
	return pack(nil, out)
}

// A frame is the bytes of some events of a block: event i of the frame is
// data[start[i]:start[i+1]].
type frame struct {
	plain []byte // lengths and events
	data  []byte
	start []int
	buf   []byte // to unpack the next frame into
}

func (f *frame) decode(b []byte, rows int) error {
	plain, err := unpack(f.buf, b)
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	if b[0] == packedZstd {
		f.buf = plain
	} else {
		plain = bytes.Clone(plain) // b is used again
	}
	return f.open(plain, rows)
}

// open makes f the frame of unpacked bytes, which it only reads.
func (f *frame) open(plain []byte, rows int) error {
	f.plain = plain
	c := byteReader{b: plain}
	f.start = append(f.start[:0], 0)
	at := 0
	for range rows {
		at += int(c.uvarint())
		f.start = append(f.start, at)
	}
	if c.err != nil || at != len(c.b) {
		return fmt.Errorf("read events: %w", ErrCorrupt)
	}
	for i := range rows {
		if f.start[i+1] < f.start[i] {
			return fmt.Errorf("read events: %w", ErrCorrupt)
		}
	}
	f.data = c.b
	return nil
}

// raw returns the bytes of an event; they are valid until the next decode.
func (f *frame) raw(i int) []byte { return f.data[f.start[i]:f.start[i+1]:f.start[i+1]] }

// splitFrames divides events into frames.
func splitFrames(evs []picket.Event) []frameInfo {
	var out []frameInfo
	var f frameInfo
	for i := range evs {
		if f.raw >= frameSize && len(out) < maxFrames-1 {
			out = append(out, f)
			f = frameInfo{}
		}
		f.rows++
		f.raw += len(evs[i].Raw)
	}
	if f.rows > 0 {
		out = append(out, f)
	}
	return out
}

// nonCanonical reports whether JSON is written in some way that a search through the
// bytes themselves would miss: escapes other than the short ones, or the two
// characters outside ASCII that fold to ASCII letters.
func nonCanonical(raw []byte) bool {
	return hasEscape(raw, 'u') || hasEscape(raw, '/') ||
		bytes.Contains(raw, []byte("\u212a")) || bytes.Contains(raw, []byte("\u017f"))
}

func hasEscape(raw []byte, c byte) bool {
	pair := []byte{'\\', c}
	for at := 0; ; {
		i := bytes.Index(raw[at:], pair)
		if i < 0 {
			return false
		}
		at += i
		before := at
		for before > 0 && raw[before-1] == '\\' {
			before--
		}
		if (at-before)%2 == 0 {
			return true
		}
		at += 2
	}
}

// mayHaveEmptyContainer reports whether there may be an object or array with nothing
// in it, whose name then belongs to no leaf.
func mayHaveEmptyContainer(raw []byte) bool {
	for _, pair := range []string{"{}", "[]"} {
		for at := 0; ; {
			i := bytes.IndexByte(raw[at:], pair[0])
			if i < 0 {
				break
			}
			at += i + 1
			rest := bytes.TrimLeft(raw[at:], " \t\r\n")
			if len(rest) > 0 && rest[0] == pair[1] {
				return true
			}
		}
	}
	return false
}
