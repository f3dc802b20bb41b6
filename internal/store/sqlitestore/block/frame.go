package block

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/picket-edr/picket"
)

// frameBytes is how many bytes of events a frame takes before the next begins:
// large enough to compress well, small enough to unpack for one event.
const frameBytes = 512 << 10

// encodeFrame packs the bytes of consecutive events: all lengths, then all
// events.
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
	return compressOrCopy(nil, out)
}

// A decodedFrame is the bytes of consecutive events of a block: event i of the frame is
// data[start[i]:start[i+1]].
type decodedFrame struct {
	plain []byte // lengths and events
	data  []byte
	start []int
	buf   []byte // to unpack the next frame into
}

// decode unpacks a frame of some rows.
func (f *decodedFrame) decode(packed []byte, rows int) error {
	plain, err := decompressPacked(f.buf, packed)
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	if packed[0] == packedZstd {
		f.buf = plain
	} else {
		plain = bytes.Clone(plain) // the caller will reuse packed
	}
	return f.open(plain, rows)
}

// open makes f the frame of unpacked bytes, which it does not change.
func (f *decodedFrame) open(plain []byte, rows int) error {
	f.plain = plain
	r := byteReader{b: plain}
	f.start = append(f.start[:0], 0)
	at := 0
	for range rows {
		at += int(r.readUvarint())
		f.start = append(f.start, at)
	}
	if r.err != nil || at != len(r.b) {
		return fmt.Errorf("read events: %w", ErrCorrupt)
	}
	for i := range rows {
		if f.start[i+1] < f.start[i] {
			return fmt.Errorf("read events: %w", ErrCorrupt)
		}
	}
	f.data = r.b
	return nil
}

// raw returns the bytes of an event. They are valid until the next decode.
func (f *decodedFrame) raw(i int) []byte { return f.data[f.start[i]:f.start[i+1]:f.start[i+1]] }

// splitFrames divides events into frames.
func splitFrames(evs []picket.Event) []frameSize {
	var out []frameSize
	var f frameSize
	for i := range evs {
		if f.rawBytes >= frameBytes && len(out) < maxFrames-1 {
			out = append(out, f)
			f = frameSize{}
		}
		f.rows++
		f.rawBytes += len(evs[i].Raw)
	}
	if f.rows > 0 {
		out = append(out, f)
	}
	return out
}
