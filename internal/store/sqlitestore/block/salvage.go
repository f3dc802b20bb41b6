package block

import (
	"fmt"
)

// Verify returns an error, ErrCorrupt for a damaged block, unless all parts of the block
// can be read.
func (b *Block) Verify() error {
	if err := b.verify(); err != nil {
		return b.wrapError(err)
	}
	return nil
}

func (b *Block) verify() error {
	in := &MergeInput{firstSeq: b.FirstSeq}
	if _, err := in.read(b, false); err != nil {
		return err
	}
	d, err := b.directory()
	if err != nil || d.flags&flagIndexed == 0 {
		return err
	}
	for _, c := range d.columns {
		if c.part == 0 {
			continue
		}
		packed, err := b.parts.ReadPart(nil, c.part)
		if err != nil {
			return err
		}
		plain, err := decompressPacked(nil, packed)
		if err != nil {
			return err
		}
		if _, err := decodeColumn(plain, b.EventCount); err != nil {
			return err
		}
	}
	for _, part := range []int{partIDFilter, partTextFilters} {
		data, err := b.parts.ReadPart(nil, part)
		if err != nil {
			return err
		}
		if data == nil {
			return fmt.Errorf("no part %d: %w", part, ErrCorrupt)
		}
	}
	return nil
}

// Salvage reads the events of a damaged block that are in frames which can be read, and
// returns how many are lost. firstSeq is the sequence number of the first of the
// readable. What is read must be merged, not indexed. A block of which only the parts are
// left has the zero Header and no directory.
func (b *Block) Salvage() (in *MergeInput, readable int, firstSeq int64, lost int, err error) {
	if _, err := b.directory(); err != nil {
		if err := b.rebuildDirectory(); err != nil {
			return nil, 0, 0, b.EventCount, b.wrapError(err)
		}
	}
	in = &MergeInput{firstSeq: b.FirstSeq}
	if lost, err = in.read(b, true); err != nil {
		return nil, 0, 0, b.EventCount, b.wrapError(err)
	}
	readable, firstSeq = in.keep(func(int) bool { return true })
	return in, readable, firstSeq, lost, nil
}

// rebuildDirectory makes a directory of a block without an index, of what the parts say.
// How many events a frame has follows from its lengths. Of a frame that is missing, it
// follows only for the last: what comes after the first missing one is left out.
func (b *Block) rebuildDirectory() error {
	data, err := b.parts.ReadPart(nil, partIDs)
	if err != nil {
		return err
	}
	ids, err := DecodeIDs(data)
	if err != nil {
		return err
	}
	b.EventCount = ids.n
	d := &directory{flags: flagDerivedValues | flagNotByteSearchable | flagSenders}
	rest := ids.n
	for i := 0; i < maxFrames && rest > 0; i++ {
		packed, err := b.parts.ReadPart(nil, partFirstFrame+i)
		if err != nil {
			return err
		}
		rows, ok := countFrameRows(packed, rest)
		if !ok {
			break
		}
		d.frames = append(d.frames, frameSize{rows: rows})
		rest -= rows
	}
	if rest > 0 {
		d.frames = append(d.frames, frameSize{rows: rest})
	}
	b.dir, b.meta = d, nil
	if _, err := b.metadata(); err != nil { // of an earlier version, without senders
		d.flags &^= flagSenders
		_, err = b.metadata()
		return err
	}
	return nil
}

// countFrameRows returns how many events a frame has; ok is false if it is damaged or has
// more than maxRows.
func countFrameRows(packed []byte, maxRows int) (rows int, ok bool) {
	plain, err := decompressPacked(nil, packed)
	if err != nil {
		return 0, false
	}
	r, total := byteReader{b: plain}, uint64(0)
	for rows = 1; rows <= maxRows; rows++ {
		total += r.readUvarint()
		if left := uint64(len(r.b)); r.err != nil || total > left {
			return 0, false
		} else if total == left {
			return rows, true
		}
	}
	return 0, false
}
