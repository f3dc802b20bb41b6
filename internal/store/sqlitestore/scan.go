package sqlitestore

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/internal/store"
)

// A Searcher searches blocks, one after another. It is for one goroutine.
type Searcher struct {
	cache     *FrameCache
	view      store.EventView
	viewed    picket.Event // that view shows
	viewedRow int          // of ev, -1 none
	columnBuf []byte       // to unpack columns into
	filterBuf []byte       // that filters are in
	// packed is what was read last, of a column or a frame.
	packedBuf []byte
	decoder   flatjson.Decoder

	// of the block
	block         *block
	directory     *directory
	filters       []textFilter // of its frames, nil where it has none
	filtersLoaded bool         // filters are
	ids           *IDList
	layouts       *fieldLayouts

	// of the frame
	frame       frame
	frameIndex  int // -1 none
	frameStart  int // the block's row that it starts with
	folded      []byte
	foldedValid bool // folded is of this frame
}

func NewSearcher(c *FrameCache) *Searcher { return &Searcher{cache: c} }

// A Hit is an event found, and its sequence number.
type Hit struct {
	Seq   int64
	Event picket.Event
}

// A Query is what a scanner looks for.
type Query struct {
	root         *queryNode
	since, until int64 // of event time
	beforeSeq    int64 // sequence numbers
}

// Search returns the newest events of b that match, at most want.
func (sc *Searcher) Search(b *block, q *Query, want int) ([]Hit, error) {
	hits, err := sc.search(b, q, want)
	if err != nil {
		return nil, b.fail(err)
	}
	return hits, nil
}

func (sc *Searcher) search(b *block, q *Query, want int) ([]Hit, error) {
	if err := sc.open(b); err != nil {
		return nil, err
	}
	if err := sc.evaluate(q.root); err != nil {
		return nil, err
	}
	if q.root.candidates.empty() {
		return nil, nil
	}
	may := slices.Clone(q.root.candidates)
	m, err := b.meta()
	if err != nil {
		return nil, err
	}
	if b.minTime < q.since || b.maxTime >= q.until || b.seq+b.span > q.beforeSeq {
		for row := range b.n {
			if m.time[row] < q.since || m.time[row] >= q.until || m.seq(b.seq, row) >= q.beforeSeq {
				may.clear(row)
			}
		}
	}
	var hits []Hit
	end := b.n
	for i := len(sc.directory.frames) - 1; i >= 0; i-- {
		start := end - sc.directory.frames[i].rows
		for row := end - 1; row >= start; row-- {
			if !may.has(row) {
				continue
			}
			if err := sc.loadFrame(i, start); err != nil {
				return nil, err
			}
			if !sc.matches(q.root, row) {
				continue
			}
			ev, err := sc.event(row)
			if err != nil {
				return nil, err
			}
			if hits = append(hits, Hit{m.seq(b.seq, row), ev}); len(hits) == want {
				return hits, nil
			}
		}
		end = start
	}
	return hits, nil
}

func (sc *Searcher) open(b *block) error {
	sc.block, sc.frameIndex, sc.viewedRow = b, -1, -1
	sc.filters, sc.filtersLoaded, sc.ids, sc.layouts = nil, false, nil, nil
	var err error
	sc.directory, err = b.dir()
	return err
}

// loadFrame makes frame i, which starts at row first, the current one.
func (sc *Searcher) loadFrame(i, first int) error {
	if sc.frameIndex == i {
		return nil
	}
	data, err := sc.block.readInto(sc.packedBuf, partFrame+i)
	if err != nil {
		return err
	}
	sc.packedBuf = data
	sc.frameIndex, sc.frameStart, sc.viewedRow, sc.foldedValid = -1, first, -1, false
	if err := sc.unpackFrame(data, sc.directory.frames[i].rows); err != nil {
		return err
	}
	if sc.layouts == nil {
		if sc.layouts, err = sc.block.recipes(); err != nil {
			return err
		}
	}
	if _, err := sc.loadIDs(); err != nil {
		return err
	}
	sc.frameIndex = i
	return nil
}

// unpackFrame makes a packed frame the current one, by way of the cache.
func (sc *Searcher) unpackFrame(packed []byte, rows int) error {
	plain, key := sc.cache.get(packed)
	if plain != nil {
		return sc.frame.open(plain, rows)
	}
	if err := sc.frame.decode(packed, rows); err != nil {
		return err
	}
	sc.cache.put(key, sc.block.seq, sc.frame.plain)
	return nil
}

func (sc *Searcher) loadIDs() (*IDList, error) {
	if sc.ids == nil {
		ids, err := sc.block.ids()
		if err != nil {
			return nil, err
		}
		sc.ids = &ids
	}
	return sc.ids, nil
}

func (sc *Searcher) loadFilters() error {
	if sc.filtersLoaded || sc.directory.flags&flagIndexed == 0 {
		return nil
	}
	data, err := sc.block.readInto(sc.filterBuf, partTextFilters)
	if err != nil {
		return err
	}
	sc.filterBuf = data
	sc.filters = make([]textFilter, len(sc.directory.frames))
	for i := range sc.filters {
		if sc.filters[i], data, err = cutTextFilter(data); err != nil {
			return err
		}
	}
	sc.filtersLoaded = true
	return nil
}

// eventView returns the view of an event of the current frame.
func (sc *Searcher) eventView(row int) *store.EventView {
	if sc.viewedRow == row {
		return &sc.view
	}
	m := sc.block.metaOnce
	sc.viewed = picket.Event{ID: sc.ids.At(row), AgentID: m.agent.value(row), Host: m.host.value(row), Type: m.eventType.value(row),
		Raw: sc.frame.raw(row - sc.frameStart), Fields: sc.viewed.Fields[:0]}
	sc.view.Reset(&sc.viewed)
	if sc.layouts.layoutOf[row] != 0 { // else the leaves are all there is
		sc.viewed.Fields = sc.layouts.appendFields(sc.viewed.Fields, row, sc.view.Leaves())
	}
	sc.viewedRow = row
	return &sc.view
}

// event returns an event of the current frame, with bytes of its own.
func (sc *Searcher) event(row int) (picket.Event, error) {
	m, err := sc.block.meta()
	if err != nil {
		return picket.Event{}, err
	}
	ev := picket.Event{ID: sc.ids.At(row), AgentID: m.agent.value(row), Host: m.host.value(row), Type: m.eventType.value(row), OS: m.os.value(row),
		Time: FromMicros(m.time[row]), Received: FromMicros(m.received[row]),
		Raw: bytes.Clone(sc.frame.raw(row - sc.frameStart))}
	leaves, _, err := sc.decoder.Leaves(ev.Raw, nil)
	if err != nil {
		leaves = nil
	}
	ev.Fields = sc.layouts.appendFields(nil, row, leaves)
	return ev, nil
}

// containsLiteral tells whether an event of the current frame has n's longest literal,
// by one search through the frame's bytes; sure is false where that can't tell.
func (sc *Searcher) containsLiteral(n *queryNode, row int) (has, sure bool) {
	if !sc.canSearchFrame(n) {
		return false, false
	}
	if n.hitsFrame != sc.frameIndex {
		n.hitsFrame = sc.frameIndex
		n.hits = newBitset(len(sc.frame.start))
		sc.markRowsContaining(n.jsonLiteral, n.hits)
	}
	return n.hits.has(row - sc.frameStart), true
}

func (sc *Searcher) canSearchFrame(n *queryNode) bool {
	if len(n.jsonLiteral) == 0 {
		return false
	}
	if sc.filters != nil {
		return sc.filters[sc.frameIndex].canonical
	}
	return sc.directory.flags&(flagIndexed|flagNonCanonical) == 0
}

// markRowsContaining sets the bits of the frame's events whose folded bytes have s.
func (sc *Searcher) markRowsContaining(s []byte, hits bitset) {
	if !sc.foldedValid {
		sc.folded = appendLowerASCII(sc.folded[:0], sc.frame.data)
		sc.foldedValid = true
	}
	for at, row := 0, 0; ; {
		i := bytes.Index(sc.folded[at:], s)
		if i < 0 {
			return
		}
		at += i
		for sc.frame.start[row+1] <= at {
			row++
		}
		start, end := sc.frame.start[row], sc.frame.start[row+1]
		if at+len(s) <= end && !endsInEscape(sc.folded[start:at]) {
			hits.set(row)
			at = end
		} else {
			at++
		}
	}
}

// endsInEscape reports whether what follows b is the second half of an escape.
func endsInEscape(b []byte) bool {
	n := 0
	for n < len(b) && b[len(b)-1-n] == '\\' {
		n++
	}
	return n%2 != 0
}

// appendLowerASCII appends s with the capital letters of ASCII made small,
// eight bytes at a time.
func appendLowerASCII(dst, s []byte) []byte {
	const ones = 0x0101010101010101
	at := len(dst)
	dst = slices.Grow(dst, len(s))[:at+len(s)]
	b := dst[at:]
	for ; len(s) >= 8 && len(b) >= 8; s, b = s[8:], b[8:] {
		w := binary.LittleEndian.Uint64(s)
		low := w &^ (ones * 0x80)
		// The high bit of each byte of: at least 'A', and past 'Z'.
		upper := (low + ones*(0x80-'A')) &^ (low + ones*(0x80-'Z'-1)) &^ w & (ones * 0x80)
		binary.LittleEndian.PutUint64(b, w|upper>>2)
	}
	for i, c := range s {
		if c-'A' < 26 {
			c |= 0x20
		}
		b[i] = c
	}
	return dst
}
