package block

import "github.com/picket-edr/picket"

// A MergeInput is the content of blocks that are to become one. The blocks must
// be in the order of their sequence numbers.
type MergeInput struct {
	firstSeq          int64
	events            []picket.Event  // without Fields
	offsets           []int64         // as in metadata
	layouts           []*fieldLayouts // of each event's block
	layoutRows        []int           // each event's row in that block
	notByteSearchable bool            // the JSON of some event may not be byte-searchable
	frames            []mergeFrame
}

// A mergeFrame is a frame; packed is nil if it has yet to be encoded.
type mergeFrame struct {
	frameSize
	packed []byte
}

// ReadAll reads blocks whole.
func ReadAll(blocks []*Block) (*MergeInput, error) {
	in := &MergeInput{firstSeq: blocks[0].FirstSeq}
	gaps := false
	for _, b := range blocks {
		if _, err := in.read(b, false); err != nil {
			return nil, b.wrapError(err)
		}
		gaps = gaps || b.Span != int64(b.EventCount)
	}
	if !gaps {
		in.offsets = nil
	}
	return in, nil
}

// read adds the events of a block. It leaves out frames that are damaged if skipDamaged is
// set, and returns how many events they have.
func (in *MergeInput) read(b *Block, skipDamaged bool) (skipped int, err error) {
	d, err := b.directory()
	if err != nil {
		return 0, err
	}
	m, err := b.metadata()
	if err != nil {
		return 0, err
	}
	ids, err := b.IDs()
	if err != nil {
		return 0, err
	}
	layouts, err := b.readFieldLayouts()
	if err != nil {
		return 0, err
	}
	in.notByteSearchable = in.notByteSearchable || d.flags&flagNotByteSearchable != 0
	row := 0
	for i, info := range d.frames {
		packed, err := b.parts.ReadPart(nil, partFirstFrame+i)
		if err != nil {
			return skipped, err
		}
		var f decodedFrame
		if err := f.decode(packed, info.rows); err != nil {
			if !skipDamaged {
				return skipped, err
			}
			row += info.rows
			skipped += info.rows
			continue
		}
		for k := range info.rows {
			in.events = append(in.events, m.event(row, ids.At(row), f.raw(k)))
			in.offsets = append(in.offsets, m.seq(b.FirstSeq, row)-in.firstSeq)
			in.layouts = append(in.layouts, layouts)
			in.layoutRows = append(in.layoutRows, row)
			row++
		}
		in.frames = append(in.frames, mergeFrame{info, packed})
	}
	return skipped, nil
}

// KeepSince drops the events that were received before a time, in microseconds. It
// returns how many are left and the sequence number of the first. What is left must be
// merged, not indexed.
func (in *MergeInput) KeepSince(since int64) (kept int, firstSeq int64) {
	return in.keep(func(i int) bool { return Micros(in.events[i].Received) >= since })
}

// keep drops the events for which f returns false, as KeepSince does.
func (in *MergeInput) keep(f func(i int) bool) (kept int, firstSeq int64) {
	var offsets []int64
	for i := range in.events {
		if !f(i) {
			continue
		}
		seq := in.seq(i)
		if kept == 0 {
			firstSeq = seq
		}
		offsets = append(offsets, seq-firstSeq)
		in.events[kept], in.layouts[kept], in.layoutRows[kept] = in.events[i], in.layouts[i], in.layoutRows[i]
		kept++
	}
	in.events, in.layouts, in.layoutRows, in.offsets, in.firstSeq, in.frames = in.events[:kept], in.layouts[:kept], in.layoutRows[:kept], offsets, firstSeq, nil
	return kept, firstSeq
}

// seq returns the sequence number of event i.
func (in *MergeInput) seq(i int) int64 {
	if in.offsets == nil {
		return in.firstSeq + int64(i)
	}
	return in.firstSeq + in.offsets[i]
}

// joinSmallFrames makes frames of a good size: frames that are large enough stay as
// they are, neighbours that are smaller are joined.
func (in *MergeInput) joinSmallFrames() {
	var out []mergeFrame
	var joined mergeFrame
	flush := func() {
		if joined.rows > 0 {
			out = append(out, joined)
		}
		joined = mergeFrame{}
	}
	for _, f := range in.frames {
		if f.rawBytes >= frameBytes/2 {
			flush()
			out = append(out, f)
			continue
		}
		if joined.rawBytes+f.rawBytes > frameBytes*5/4 {
			flush()
		}
		joined.rows += f.rows
		joined.rawBytes += f.rawBytes
	}
	flush()
	if len(out) > maxFrames {
		out = out[:0]
		for _, f := range splitFrames(in.events) {
			out = append(out, mergeFrame{f, nil})
		}
	}
	in.frames = out
}
