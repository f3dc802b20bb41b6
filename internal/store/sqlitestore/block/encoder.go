package block

import (
	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/sigma"
)

// A Encoder makes blocks. It is for one goroutine at a time.
type Encoder struct {
	dec    flatjson.Decoder
	leaves []flatjson.Leaf // of the event read last
	fields []sigma.Field   // of the event merged last

	// For indexed blocks:
	index         flatjson.LeafIndex // of leaves
	columns       map[string]*columnBuilder
	paths         []*pathData
	trigrams      *trigramSet
	fieldsOmitted bool // there were more fields than a block can have columns
	events        int
}

// pathData is what the encoder keeps of a path of the JSON.
type pathData struct {
	column     *columnBuilder // nil if the path has none
	resolved   bool           // column is set for this block
	filteredIn uint16         // the frame (+1) whose text filter has the path's name
}

// NewEncoder returns an Encoder.
func NewEncoder() *Encoder {
	b := &Encoder{}
	b.resetPaths()
	return b
}

func (b *Encoder) resetPaths() {
	b.paths = nil
	b.dec = flatjson.Decoder{OnPath: func(p *flatjson.Path) {
		t := &pathData{}
		p.Data = t
		b.paths = append(b.paths, t)
	}}
}

// dropEventReferences drops all references to the events of the last block.
func (b *Encoder) dropEventReferences() {
	b.leaves, b.fields = flatjson.ClearForReuse(b.leaves), flatjson.ClearForReuse(b.fields)
	b.index.Reset(nil)
	b.columns = nil
	for _, t := range b.paths {
		*t = pathData{}
	}
}

// EncodeFresh makes a block of events with Fields and without an index. offsets are
// the distances of the events' sequence numbers from the first one's; nil if
// they are consecutive.
func (b *Encoder) EncodeFresh(evs []picket.Event, offsets []int64) Encoded {
	return b.encodeFresh(evs, offsets, func(i int) []sigma.Field { return evs[i].Fields })
}

// EncodeMerged makes one block without an index of the events of fresh blocks. It has the
// fields of one event at a time in memory.
func (b *Encoder) EncodeMerged(in *MergeInput) Encoded {
	return b.encodeFresh(in.events, in.offsets, func(i int) []sigma.Field {
		b.fields = in.layouts[i].appendFields(b.fields[:0], in.layoutRows[i], b.leaves)
		return b.fields
	})
}

// encodeFresh calls fields for each event in order, after it has read the event's leaves.
func (b *Encoder) encodeFresh(evs []picket.Event, offsets []int64, fields func(i int) []sigma.Field) Encoded {
	defer b.dropEventReferences()
	out := Encoded{Header: newHeader(evs, offsets)}
	d := directory{frames: splitFrames(evs)}
	var layouts layoutBuilder
	ids := make([]string, len(evs))
	for i := range evs {
		if !b.decodeLeaves(evs[i].Raw) {
			d.flags |= flagNotByteSearchable
		}
		layouts.add(b.leaves, fields(i))
		ids[i] = evs[i].ID
		if d.flags&flagNotByteSearchable == 0 && !isByteSearchable(evs[i].Raw) {
			d.flags |= flagNotByteSearchable
		}
	}
	if layouts.hasDerivedValues() {
		d.flags |= flagDerivedValues
	}
	packed, flags := encodeMetadata(evs, offsets)
	d.flags |= flags
	out.Parts = append(out.Parts, Part{partMetadata, packed}, Part{partIDs, encodeIDs(ids)})
	if part := layouts.encode(); part != nil {
		d.flags |= flagFieldLayouts
		out.Parts = append(out.Parts, Part{partFieldLayouts, part})
	}
	row := 0
	for i, f := range d.frames {
		out.Parts = append(out.Parts, Part{partFirstFrame + i, encodeFrame(evs[row : row+f.rows])})
		row += f.rows
	}
	out.Directory = d.encode()
	return out
}

// decodeLeaves reads the leaves of an event and reports whether it is JSON. An
// event that is not JSON has no leaves.
func (b *Encoder) decodeLeaves(raw []byte) (isJSON bool) {
	var err error
	if b.leaves, _, err = b.dec.Leaves(raw, b.leaves[:0]); err != nil {
		b.leaves = b.leaves[:0]
	}
	return err == nil
}
