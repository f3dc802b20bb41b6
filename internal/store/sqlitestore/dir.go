package sqlitestore

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// The parts of a block, rows of table parts with the key seq<<partBits | part.
const (
	partBits = 9

	partMetadata     = 0
	partIDs          = 1
	partIDFilter     = 2
	partFieldLayouts = 3
	partTextFilters  = 4   // text filters, one a frame
	partFrame        = 16  // events as received, from here on
	partColumn       = 144 // columns, from here to the end

	maxFrames  = partColumn - partFrame
	maxColumns = 300 // distinct fields of a block with a column; further ones are only in the events
)

func partKey(seq int64, part int) int64 { return seq<<partBits | int64(part) }

// A directory says what is in a block.
type directory struct {
	flags   byte
	frames  []frameInfo
	names   []string    // sorted
	columns []columnRef // of each name
}

// Flags of a block.
const (
	// flagIndexed: the block has columns, text filters and an id filter.
	flagIndexed = 1 << iota
	// flagTruncated: there are fields beyond maxColumns that the directory leaves out.
	flagTruncated
	// flagLiterals: some event has a field whose value is not in its text.
	flagLiterals
	// flagNonCanonical: as filterNonCanonical, for a block without filters.
	flagNonCanonical
)

type frameInfo struct {
	rows int // events
	raw  int // bytes as received
}

// A columnRef says where a field's values are.
type columnRef struct {
	part int // 0: no column, only in the events
	// derived: some value is not in the text of its event.
	derived bool
}

func (d *directory) encode() []byte {
	out := []byte{d.flags}
	out = binary.AppendUvarint(out, uint64(len(d.frames)))
	for _, f := range d.frames {
		out = binary.AppendUvarint(out, uint64(f.rows))
		out = binary.AppendUvarint(out, uint64(f.raw))
	}
	out = binary.AppendUvarint(out, uint64(len(d.names)))
	out = appendStrings(out, d.names)
	for _, p := range d.columns {
		v := uint64(p.part) << 1
		if p.derived {
			v |= 1
		}
		out = binary.AppendUvarint(out, v)
	}
	return pack(nil, out)
}

func decodeDirectory(b []byte, n int) (*directory, error) {
	plain, err := unpack(nil, b)
	if err != nil {
		return nil, fmt.Errorf("read directory: %w", err)
	}
	c := byteReader{b: plain}
	d := &directory{flags: c.byte()}
	d.frames = make([]frameInfo, c.count())
	for i := range d.frames {
		d.frames[i] = frameInfo{rows: int(c.uvarint()), raw: int(c.uvarint())}
		n -= d.frames[i].rows
	}
	d.names = c.strings(c.count())
	d.columns = make([]columnRef, len(d.names))
	for i := range d.columns {
		v := c.uvarint()
		d.columns[i] = columnRef{part: int(v >> 1), derived: v&1 != 0}
	}
	if c.err != nil || n != 0 || len(d.frames) > maxFrames {
		return nil, ErrCorrupt
	}
	return d, nil
}

// lookUp returns where a field's values are; known is false where no event of
// the block has it.
func (d *directory) lookUp(name string) (p columnRef, known bool) {
	if d.flags&flagIndexed == 0 {
		return columnRef{derived: d.flags&flagLiterals != 0}, true
	}
	if i, ok := slices.BinarySearch(d.names, name); ok {
		return d.columns[i], true
	}
	if d.flags&flagTruncated != 0 {
		return columnRef{derived: true}, true
	}
	return columnRef{}, false
}
