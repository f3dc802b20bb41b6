package sqlitestore

import (
	"math"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/flatjson"
)

// A Encoded block is ready to be written, but for its sequence numbers.
type Encoded struct {
	EventCount               int
	Span                     int64 // distance from the first to past the last sequence number
	RawBytes                 int64 // bytes as received
	MinTime, MaxTime         int64
	MinReceived, MaxReceived int64
	Directory                []byte
	Parts                    []Part
	Indexed                  bool
}

type Part struct {
	Number int
	Data   []byte
}

func (b *Encoded) Size() int64 {
	n := int64(len(b.Directory))
	for _, p := range b.Parts {
		n += int64(len(p.Data))
	}
	return n
}

func (b *Encoded) setHeader(evs []picket.Event, offset []int64) {
	b.EventCount, b.Span = len(evs), int64(len(evs))
	if offset != nil {
		b.Span = offset[len(offset)-1] + 1
	}
	b.MinTime, b.MinReceived = math.MaxInt64, math.MaxInt64
	b.MaxTime, b.MaxReceived = math.MinInt64, math.MinInt64
	for i := range evs {
		t, r := Micros(evs[i].Time), Micros(evs[i].Received)
		b.MinTime, b.MaxTime = min(b.MinTime, t), max(b.MaxTime, t)
		b.MinReceived, b.MaxReceived = min(b.MinReceived, r), max(b.MaxReceived, r)
		b.RawBytes += int64(len(evs[i].Raw))
	}
}

// A Builder makes blocks. It is for one goroutine at a time.
type Builder struct {
	dec    flatjson.Decoder
	leaves []flatjson.Leaf

	// for indexed blocks
	columns   map[string]*columnBuilder
	paths     []*pathData
	trigrams  *trigramSet
	truncated bool
	events    int
}

// A pathData is the tag of a path: its column and whether a frame's text filter
// has its name.
type pathData struct {
	column     *columnBuilder
	resolved   bool // col is set for this block, nil if it has none
	filteredIn uint16
}

func NewBuilder() *Builder {
	b := &Builder{}
	b.dec.OnPath = func(p *flatjson.Path) {
		t := &pathData{}
		p.Tag = t
		b.paths = append(b.paths, t)
	}
	return b
}

// Fresh makes a block as Save writes it: the events and no index. Their Fields
// are kept.
func (b *Builder) Fresh(evs []picket.Event, offset []int64) Encoded {
	var out Encoded
	out.setHeader(evs, offset)
	d := directory{frames: splitFrames(evs)}
	var rb layoutBuilder
	ids := make([]string, len(evs))
	for i := range evs {
		if !b.readLeaves(evs[i].Raw) {
			d.flags |= flagNonCanonical
		}
		rb.add(b.leaves, evs[i].Fields)
		ids[i] = evs[i].ID
		if d.flags&flagNonCanonical == 0 && nonCanonical(evs[i].Raw) {
			d.flags |= flagNonCanonical
		}
	}
	if rb.hasLiterals() {
		d.flags |= flagLiterals
	}
	out.Parts = append(out.Parts, Part{partMetadata, encodeMetadata(evs, offset)}, Part{partIDs, encodeIDs(ids)})
	if r := rb.encode(); r != nil {
		out.Parts = append(out.Parts, Part{partFieldLayouts, r})
	}
	row := 0
	for i, f := range d.frames {
		out.Parts = append(out.Parts, Part{partFrame + i, encodeFrame(evs[row : row+f.rows])})
		row += f.rows
	}
	out.Directory = d.encode()
	return out
}

// readLeaves reads the leaves of an event, and reports whether it is JSON. One that
// is not has no fields but those it came with.
func (b *Builder) readLeaves(raw []byte) bool {
	var err error
	if b.leaves, _, err = b.dec.Leaves(raw, b.leaves[:0]); err != nil {
		b.leaves = b.leaves[:0]
	}
	return err == nil
}
