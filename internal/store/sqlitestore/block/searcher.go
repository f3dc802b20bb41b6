package block

import (
	"bytes"
	"context"
	"maps"
	"slices"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/internal/store"
)

// A Searcher searches blocks, one after another. It is for one goroutine at a
// time.
type Searcher struct {
	cache      *FrameCache
	view       store.EventView
	viewed     picket.Event          // what view shows
	viewedRow  int                   // the row of viewed, -1 none
	columnBuf  []byte                // to unpack columns into
	filterBuf  []byte                // that the text filters are in
	packedBuf  []byte                // the part read last, a column or a frame
	decoder    flatjson.Decoder      // of events that are returned
	leaves     []flatjson.Leaf       // of such an event
	ctxChecker *store.ContextChecker // of the current search

	// Of the current block:
	block         *Block
	directory     *directory
	filters       []textFilter // one for each frame, nil if the block has none
	filtersLoaded bool
	ids           *IDList
	layouts       *fieldLayouts

	// Of the current frame:
	frame       decodedFrame
	frameIndex  int // -1 none
	frameStart  int // its first row
	folded      []byte
	foldedValid bool // folded is of this frame
}

// NewSearcher returns a Searcher that shares a cache with others.
func NewSearcher(c *FrameCache) *Searcher { return &Searcher{cache: c} }

// A FoundEvent is an event found, with its sequence number.
type FoundEvent struct {
	Seq   int64
	Event picket.Event
}

// Search calls yield with the events of a block that match, newest first, until it
// returns false. It stops within a few milliseconds of work once ctx has ended.
func (s *Searcher) Search(ctx context.Context, b *Block, q *Query, yield func(FoundEvent) bool) error {
	s.ctxChecker = store.NewContextChecker(ctx)
	s.view.ContextChecker = s.ctxChecker
	if err := s.search(b, q, yield); err != nil {
		return b.wrapError(err)
	}
	return nil
}

func (s *Searcher) search(b *Block, q *Query, yield func(FoundEvent) bool) error {
	if err := s.open(b); err != nil {
		return err
	}
	if err := s.evaluate(q.root); err != nil {
		return err
	}
	if q.root.candidates.empty() {
		return nil
	}
	m, err := b.metadata()
	if err != nil {
		return err
	}
	rows := s.candidatesWithinBounds(m, q)
	end := b.EventCount
	for i := len(s.directory.frames) - 1; i >= 0; i-- {
		start := end - s.directory.frames[i].rows
		for row := end - 1; row >= start; row-- {
			if !rows.has(row) {
				continue
			}
			if err := s.loadFrame(i, start); err != nil {
				return err
			}
			matches := s.rowMatches(q.root, row)
			if err := s.ctxChecker.CountBytes(rowMatchCost); err != nil {
				return err
			}
			if !matches {
				continue
			}
			ev, err := s.selectedEvent(q, row)
			if err != nil {
				return err
			}
			if !yield(FoundEvent{m.seq(b.FirstSeq, row), ev}) {
				return nil
			}
		}
		end = start
	}
	return nil
}

// rowMatchCost is what the context checker counts for a row besides the values that are compared.
const rowMatchCost = 64

// candidatesWithinBounds returns the query's candidates within its bounds of
// time and sequence number.
func (s *Searcher) candidatesWithinBounds(m *eventMetadata, q *Query) bitset {
	b := s.block
	rows := slices.Clone(q.root.candidates)
	if b.MinTime >= q.since && b.MaxTime < q.until && b.FirstSeq+b.Span <= q.beforeSeq {
		return rows
	}
	for row := range b.EventCount {
		if m.time[row] < q.since || m.time[row] >= q.until || m.seq(b.FirstSeq, row) >= q.beforeSeq {
			rows.clear(row)
		}
	}
	return rows
}

// FieldNames returns the names of the fields of a block's events.
func (s *Searcher) FieldNames(b *Block) ([]string, error) {
	names, err := s.fieldNames(b)
	if err != nil {
		return nil, b.wrapError(err)
	}
	return names, nil
}

func (s *Searcher) fieldNames(b *Block) ([]string, error) {
	if err := s.open(b); err != nil || s.directory.flags&flagIndexed != 0 {
		return slices.Clone(s.directory.names), err
	}
	if _, err := b.metadata(); err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	row := 0
	for i, f := range s.directory.frames {
		if err := s.loadFrame(i, row); err != nil {
			return nil, err
		}
		for end := row + f.rows; row < end; row++ {
			for _, leaf := range s.eventView(row).Leaves() {
				seen[leaf.Path.Name] = true
			}
			for i := range s.viewed.Fields {
				seen[s.viewed.Fields[i].Name] = true
			}
		}
	}
	return slices.Collect(maps.Keys(seen)), nil
}

// Event returns the event of a row.
func (s *Searcher) Event(b *Block, row int) (picket.Event, error) {
	ev, err := s.eventOf(b, row)
	if err != nil {
		return ev, b.wrapError(err)
	}
	return ev, nil
}

func (s *Searcher) eventOf(b *Block, row int) (picket.Event, error) {
	if err := s.openAt(b, row); err != nil {
		return picket.Event{}, err
	}
	return s.event(row)
}

// Raw returns the bytes of the event of a row. They are valid until the next call.
func (s *Searcher) Raw(b *Block, row int) ([]byte, error) {
	if s.block != b || s.frameIndex < 0 || row < s.frameStart || row >= s.frameStart+s.directory.frames[s.frameIndex].rows {
		if err := s.openAt(b, row); err != nil {
			return nil, b.wrapError(err)
		}
	}
	return s.frame.raw(row - s.frameStart), nil
}

// openAt makes b the current block, and the frame of a row the current frame.
func (s *Searcher) openAt(b *Block, row int) error {
	if err := s.open(b); err != nil {
		return err
	}
	start := 0
	for i, f := range s.directory.frames {
		if row < start+f.rows {
			return s.loadFrame(i, start)
		}
		start += f.rows
	}
	return ErrCorrupt
}

// open makes b the current block.
func (s *Searcher) open(b *Block) error {
	s.block, s.frameIndex, s.viewedRow = b, -1, -1
	s.filters, s.filtersLoaded, s.ids, s.layouts = nil, false, nil, nil
	s.dropLargeBuffers()
	var err error
	s.directory, err = b.directory()
	return err
}

// maxKeptBufferBytes bounds each buffer that a Searcher keeps for the next block.
const maxKeptBufferBytes = 8 * frameBytes

// dropLargeBuffers drops the buffers that an unusually large block has left.
func (s *Searcher) dropLargeBuffers() {
	for _, b := range []*[]byte{&s.columnBuf, &s.filterBuf, &s.packedBuf, &s.folded, &s.frame.buf} {
		if cap(*b) > maxKeptBufferBytes {
			*b = nil
		}
	}
}

// loadFrame makes a frame the current one.
func (s *Searcher) loadFrame(index, firstRow int) error {
	if s.frameIndex == index {
		return nil
	}
	data, err := s.block.parts.ReadPart(s.packedBuf, partFirstFrame+index)
	if err != nil {
		return err
	}
	s.packedBuf = data
	s.frameIndex, s.frameStart, s.viewedRow, s.foldedValid = -1, firstRow, -1, false
	if err := s.unpackFrame(data, s.directory.frames[index].rows); err != nil {
		return err
	}
	if s.layouts == nil {
		if s.layouts, err = s.block.readFieldLayouts(); err != nil {
			return err
		}
	}
	if _, err := s.loadIDs(); err != nil {
		return err
	}
	s.frameIndex = index
	return nil
}

// unpackFrame makes a packed frame the current one, from the cache if it is there.
func (s *Searcher) unpackFrame(packed []byte, rows int) error {
	plain, key := s.cache.get(packed)
	if plain != nil {
		return s.frame.open(plain, rows)
	}
	if err := s.frame.decode(packed, rows); err != nil {
		return err
	}
	s.cache.put(key, s.block.FirstSeq, s.frame.plain)
	return nil
}

func (s *Searcher) loadIDs() (*IDList, error) {
	if s.ids == nil {
		ids, err := s.block.IDs()
		if err != nil {
			return nil, err
		}
		s.ids = &ids
	}
	return s.ids, nil
}

func (s *Searcher) loadFilters() error {
	if s.filtersLoaded || s.directory.flags&flagIndexed == 0 {
		return nil
	}
	data, err := s.block.parts.ReadPart(s.filterBuf, partTextFilters)
	if err != nil {
		return err
	}
	s.filterBuf = data
	s.filters = make([]textFilter, len(s.directory.frames))
	for i := range s.filters {
		if s.filters[i], data, err = splitTextFilter(data); err != nil {
			return err
		}
	}
	s.filtersLoaded = true
	return nil
}

// eventView returns the view of an event of the current frame.
func (s *Searcher) eventView(row int) *store.EventView {
	if s.viewedRow == row {
		return &s.view
	}
	m := s.block.meta // search has read it
	s.viewed = picket.Event{ID: s.ids.At(row), AgentID: m.agent.value(row), Host: m.host.value(row), Type: m.eventType.value(row),
		Time: FromMicros(m.time[row]), Received: FromMicros(m.received[row]), Raw: s.frame.raw(row - s.frameStart), Fields: s.viewed.Fields[:0]}
	s.view.Reset(&s.viewed)
	if !s.layouts.hasLeavesOnly(row) { // otherwise the view has the fields already
		s.viewed.Fields = s.layouts.appendFields(s.viewed.Fields, row, s.view.Leaves())
	}
	s.viewedRow = row
	return &s.view
}

// event returns an event of the current frame, with bytes of its own.
func (s *Searcher) event(row int) (picket.Event, error) {
	m, err := s.block.metadata()
	if err != nil {
		return picket.Event{}, err
	}
	ev := m.event(row, s.ids.At(row), bytes.Clone(s.frame.raw(row-s.frameStart)))
	leaves, _, err := s.decoder.Leaves(ev.Raw, nil)
	if err != nil {
		leaves = nil
	}
	ev.Fields = s.layouts.appendFields(nil, row, leaves)
	return ev, nil
}

// selectedEvent returns what a query selects of an event of the current frame, with
// bytes of its own.
func (s *Searcher) selectedEvent(q *Query, row int) (picket.Event, error) {
	if q.OnlyFields == nil {
		return s.event(row)
	}
	m, err := s.block.metadata()
	if err != nil {
		return picket.Event{}, err
	}
	ev := m.event(row, s.ids.At(row), nil)
	raw := s.frame.raw(row - s.frameStart)
	ev.Raw = bytes.Clone(raw)
	if len(q.OnlyFields) == 0 {
		return ev, nil
	}
	if s.leaves, _, err = s.decoder.Leaves(raw, s.leaves[:0]); err != nil {
		s.leaves = s.leaves[:0]
	}
	s.viewed.Fields = s.layouts.appendFields(s.viewed.Fields[:0], row, s.leaves)
	s.viewedRow = -1
	ev.Fields = store.AppendSelectedFields(nil, s.viewed.Fields, q.OnlyFields)
	return ev, nil
}

// containsLiteral reports whether an event of the current frame contains n's
// literal, by one search through the bytes of the frame; sure is false if the
// bytes do not tell.
func (s *Searcher) containsLiteral(n *queryNode, row int) (has, sure bool) {
	if len(n.jsonLiteral) == 0 || !s.frameIsByteSearchable() {
		return false, false
	}
	if n.hitsFrame != s.frameIndex {
		n.hitsFrame = s.frameIndex
		n.hits = newBitset(len(s.frame.start))
		s.markRowsContaining(n.jsonLiteral, n.hits)
	}
	return n.hits.has(row - s.frameStart), true
}

func (s *Searcher) frameIsByteSearchable() bool {
	if s.filters != nil {
		return s.filters[s.frameIndex].byteSearchable
	}
	return s.directory.flags&(flagIndexed|flagNotByteSearchable) == 0
}

// markRowsContaining sets the bits of the frame's events whose bytes in lower
// case contain text.
func (s *Searcher) markRowsContaining(text []byte, hits bitset) {
	if !s.foldedValid {
		s.folded = appendLowerASCII(s.folded[:0], s.frame.data)
		s.foldedValid = true
	}
	for at, row := 0, 0; ; {
		i := bytes.Index(s.folded[at:], text)
		if i < 0 {
			return
		}
		at += i
		for s.frame.start[row+1] <= at {
			row++
		}
		start, end := s.frame.start[row], s.frame.start[row+1]
		if at+len(text) <= end && !endsInEscape(s.folded[start:at]) {
			hits.set(row)
			at = end
		} else {
			at++
		}
	}
}
