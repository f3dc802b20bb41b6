package sqlitestore

import (
	"math"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/flatjson"
)

// A built block is ready to be written, but for its sequence numbers.
type built struct {
	n                int
	span             int64 // distance from the first to past the last sequence number
	raw              int64 // bytes as received
	minTime, maxTime int64
	minRecv, maxRecv int64
	dir              []byte
	parts            []part
	indexed          bool
}

type part struct {
	no   int
	data []byte
}

func (b *built) size() int64 {
	n := int64(len(b.dir))
	for _, p := range b.parts {
		n += int64(len(p.data))
	}
	return n
}

func (b *built) note(evs []picket.Event, offset []int64) {
	b.n, b.span = len(evs), int64(len(evs))
	if offset != nil {
		b.span = offset[len(offset)-1] + 1
	}
	b.minTime, b.minRecv = math.MaxInt64, math.MaxInt64
	b.maxTime, b.maxRecv = math.MinInt64, math.MinInt64
	for i := range evs {
		t, r := micros(evs[i].Time), micros(evs[i].Received)
		b.minTime, b.maxTime = min(b.minTime, t), max(b.maxTime, t)
		b.minRecv, b.maxRecv = min(b.minRecv, r), max(b.maxRecv, r)
		b.raw += int64(len(evs[i].Raw))
	}
}

// A builder makes blocks. It is for one goroutine at a time.
type builder struct {
	dec    flatjson.Decoder
	leaves []flatjson.Leaf

	// for indexed blocks
	columns  map[string]*columnBuilder
	paths    []*pathInfo
	trigrams *trigramSet
	capped   bool
	n        int
}

// A pathInfo is the tag of a path: its column and whether a frame's text filter
// has its name.
type pathInfo struct {
	col    *columnBuilder
	looked bool // col is set for this block, nil if it has none
	seen   uint16
}

func newBuilder() *builder {
	b := &builder{}
	b.dec.OnPath = func(p *flatjson.Path) {
		t := &pathInfo{}
		p.Tag = t
		b.paths = append(b.paths, t)
	}
	return b
}

// fresh makes a block as Save writes it: the events and no index. Their Fields
// are kept.
func (b *builder) fresh(evs []picket.Event, offset []int64) built {
	var out built
	out.note(evs, offset)
	d := dir{frames: cutFrames(evs)}
	var rb recipeBuilder
	ids := make([]string, len(evs))
	for i := range evs {
		if !b.read(evs[i].Raw) {
			d.flags |= dirExotic
		}
		rb.add(b.leaves, evs[i].Fields)
		ids[i] = evs[i].ID
		if d.flags&dirExotic == 0 && exotic(evs[i].Raw) {
			d.flags |= dirExotic
		}
	}
	if rb.hasLiterals() {
		d.flags |= dirLiterals
	}
	out.parts = append(out.parts, part{partMeta, encodeMeta(evs, offset)}, part{partIDs, encodeIDs(ids)})
	if r := rb.encode(); r != nil {
		out.parts = append(out.parts, part{partRecipes, r})
	}
	row := 0
	for i, f := range d.frames {
		out.parts = append(out.parts, part{partFrame + i, encodeFrame(evs[row : row+f.rows])})
		row += f.rows
	}
	out.dir = d.encode()
	return out
}

// read reads the leaves of an event, and reports whether it is JSON. One that
// is not has no fields but those it came with.
func (b *builder) read(raw []byte) bool {
	var err error
	if b.leaves, _, err = b.dec.Leaves(raw, b.leaves[:0]); err != nil {
		b.leaves = b.leaves[:0]
	}
	return err == nil
}
