package block

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// A directory says what is in a block. Packed, it is:
//
//	flags (1 byte)
//	number of frames; each: events, bytes of the events
//	number of names, their lengths, their bytes
//	for each name: part of its column << 1, plus 1 if derived
type directory struct {
	flags   byte
	frames  []frameSize
	names   []string    // of fields, sorted
	columns []columnRef // where the values of each name are
}

// Flags of a block.
const (
	// flagIndexed: the block has columns, text filters and an id filter.
	flagIndexed = 1 << iota
	// flagFieldsOmitted: there are fields beyond maxColumns that the directory omits.
	flagFieldsOmitted
	// flagDerivedValues: some event has a field whose value is not in its JSON.
	flagDerivedValues
	// flagNotByteSearchable: some event's JSON is not byte-searchable. Indexed blocks have
	// filterNotByteSearchable for each frame instead.
	flagNotByteSearchable
	// flagSenders: the metadata has the senders and indexes of the events.
	flagSenders
	// flagFieldLayouts: the block has field layouts. Blocks of earlier versions may have
	// them without it.
	flagFieldLayouts
)

type frameSize struct {
	rows     int // events
	rawBytes int // bytes as received
}

// A columnRef says where the values of a field are.
type columnRef struct {
	part int // 0: there is no column, the values are only in the events
	// derived: some value is not in the JSON of its event.
	derived bool
}

func (d *directory) encode() []byte {
	out := []byte{d.flags}
	out = binary.AppendUvarint(out, uint64(len(d.frames)))
	for _, f := range d.frames {
		out = binary.AppendUvarint(out, uint64(f.rows))
		out = binary.AppendUvarint(out, uint64(f.rawBytes))
	}
	out = binary.AppendUvarint(out, uint64(len(d.names)))
	out = appendLengthsAndBytes(out, d.names)
	for _, c := range d.columns {
		v := uint64(c.part) << 1
		if c.derived {
			v |= 1
		}
		out = binary.AppendUvarint(out, v)
	}
	return compressOrCopy(nil, out)
}

// decodeDirectory reads the directory of a block of eventCount events.
func decodeDirectory(b []byte, eventCount int) (*directory, error) {
	plain, err := decompressPacked(nil, b)
	if err != nil {
		return nil, fmt.Errorf("read directory: %w", err)
	}
	r := byteReader{b: plain}
	d := &directory{flags: r.readByte()}
	d.frames = make([]frameSize, r.readCount())
	withoutFrame := eventCount
	for i := range d.frames {
		d.frames[i] = frameSize{rows: int(r.readUvarint()), rawBytes: int(r.readUvarint())}
		withoutFrame -= d.frames[i].rows
	}
	d.names = r.readStrings(r.readCount())
	d.columns = make([]columnRef, len(d.names))
	for i := range d.columns {
		v := r.readUvarint()
		d.columns[i] = columnRef{part: int(v >> 1), derived: v&1 != 0}
	}
	if r.err != nil || withoutFrame != 0 || len(d.frames) > maxFrames {
		return nil, ErrCorrupt
	}
	return d, nil
}

// lookUp returns where the values of a field are; known is false if no event of
// the block has the field.
func (d *directory) lookUp(name string) (c columnRef, known bool) {
	if d.flags&flagIndexed == 0 {
		return columnRef{derived: d.flags&flagDerivedValues != 0}, true
	}
	if i, ok := slices.BinarySearch(d.names, name); ok {
		return d.columns[i], true
	}
	if d.flags&flagFieldsOmitted != 0 {
		return columnRef{derived: true}, true
	}
	return columnRef{}, false
}
