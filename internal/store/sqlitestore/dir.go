package sqlitestore

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// The parts of a block, rows of table parts with the key seq<<partBits | part.
const (
	partBits = 9

	partMeta     = 0
	partIDs      = 1
	partIDFilter = 2
	partRecipes  = 3
	partText     = 4   // text filters, one a frame
	partFrame    = 16  // events as received, from here on
	partColumn   = 144 // columns, from here to the end

	maxFrames  = partColumn - partFrame
	maxColumns = 300 // distinct fields of a block with a column; further ones are only in the events
)

func partKey(seq int64, part int) int64 { return seq<<partBits | int64(part) }

// A dir says what is in a block.
type dir struct {
	flags  byte
	frames []frameInfo
	names  []string // sorted
	where  []place  // of each name
}

// Flags of a block.
const (
	// dirIndexed: the block has columns, text filters and an id filter.
	dirIndexed = 1 << iota
	// dirCapped: there are fields beyond maxColumns that the directory leaves out.
	dirCapped
	// dirLiterals: some event has a field whose value is not in its text.
	dirLiterals
	// dirExotic: as textExotic, for a block without filters.
	dirExotic
)

type frameInfo struct {
	rows int // events
	raw  int // bytes as received
}

// A place says where a field's values are.
type place struct {
	part int // 0: no column, only in the events
	// derived: some value is not in the text of its event.
	derived bool
}

func (d *dir) encode() []byte {
	out := []byte{d.flags}
	out = binary.AppendUvarint(out, uint64(len(d.frames)))
	for _, f := range d.frames {
		out = binary.AppendUvarint(out, uint64(f.rows))
		out = binary.AppendUvarint(out, uint64(f.raw))
	}
	out = binary.AppendUvarint(out, uint64(len(d.names)))
	out = appendStrings(out, d.names)
	for _, p := range d.where {
		v := uint64(p.part) << 1
		if p.derived {
			v |= 1
		}
		out = binary.AppendUvarint(out, v)
	}
	return pack(nil, out)
}

func decodeDir(b []byte, n int) (*dir, error) {
	plain, err := unpack(nil, b)
	if err != nil {
		return nil, fmt.Errorf("read directory: %w", err)
	}
	c := cursor{b: plain}
	d := &dir{flags: c.byte()}
	d.frames = make([]frameInfo, c.count())
	for i := range d.frames {
		d.frames[i] = frameInfo{rows: int(c.uvarint()), raw: int(c.uvarint())}
		n -= d.frames[i].rows
	}
	d.names = c.strings(c.count())
	d.where = make([]place, len(d.names))
	for i := range d.where {
		v := c.uvarint()
		d.where[i] = place{part: int(v >> 1), derived: v&1 != 0}
	}
	if c.err != nil || n != 0 || len(d.frames) > maxFrames {
		return nil, errCorrupt
	}
	return d, nil
}

// find returns where a field's values are; known is false where no event of
// the block has it.
func (d *dir) find(name string) (p place, known bool) {
	if d.flags&dirIndexed == 0 {
		return place{derived: d.flags&dirLiterals != 0}, true
	}
	if i, ok := slices.BinarySearch(d.names, name); ok {
		return d.where[i], true
	}
	if d.flags&dirCapped != 0 {
		return place{derived: true}, true
	}
	return place{}, false
}
