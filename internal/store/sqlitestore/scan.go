package sqlitestore

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/internal/store"
)

// A scanner searches blocks, one after another. It is for one goroutine.
type scanner struct {
	cache *frameCache
	view  store.EventView
	ev    picket.Event // that view shows
	row   int          // of ev, -1 none
	buf   []byte       // to unpack columns into
	text  []byte       // that filters are in
	// packed is what was read last, of a column or a frame.
	packed []byte
	out    flatjson.Decoder

	// of the block
	b       *block
	dir     *dir
	filters []textFilter // of its frames, nil where it has none
	loaded  bool         // filters are
	ids     *idList
	rec     *recipes

	// of the frame
	frame  frame
	no     int // -1 none
	first  int // the block's row that it starts with
	folded []byte
	folds  bool // folded is of this frame
}

func newScanner(c *frameCache) *scanner { return &scanner{cache: c} }

// A hit is an event found, and its sequence number.
type hit struct {
	seq int64
	ev  picket.Event
}

// A search is what a scanner looks for.
type search struct {
	root         *node
	since, until int64 // of event time
	below        int64 // sequence numbers
}

// scan returns the newest events of b that match, at most want.
func (sc *scanner) scan(b *block, q *search, want int) ([]hit, error) {
	hits, err := sc.scanBlock(b, q, want)
	if err != nil {
		return nil, b.fail(err)
	}
	return hits, nil
}

func (sc *scanner) scanBlock(b *block, q *search, want int) ([]hit, error) {
	if err := sc.open(b); err != nil {
		return nil, err
	}
	if err := sc.decide(q.root); err != nil {
		return nil, err
	}
	if q.root.may.empty() {
		return nil, nil
	}
	may := slices.Clone(q.root.may)
	m, err := b.meta()
	if err != nil {
		return nil, err
	}
	if b.minTime < q.since || b.maxTime >= q.until || b.seq+b.span > q.below {
		for row := range b.n {
			if m.time[row] < q.since || m.time[row] >= q.until || m.seq(b.seq, row) >= q.below {
				may.clear(row)
			}
		}
	}
	var hits []hit
	end := b.n
	for i := len(sc.dir.frames) - 1; i >= 0; i-- {
		start := end - sc.dir.frames[i].rows
		for row := end - 1; row >= start; row-- {
			if !may.has(row) {
				continue
			}
			if err := sc.load(i, start); err != nil {
				return nil, err
			}
			if !sc.resolve(q.root, row) {
				continue
			}
			ev, err := sc.event(row)
			if err != nil {
				return nil, err
			}
			if hits = append(hits, hit{m.seq(b.seq, row), ev}); len(hits) == want {
				return hits, nil
			}
		}
		end = start
	}
	return hits, nil
}

func (sc *scanner) open(b *block) error {
	sc.b, sc.no, sc.row = b, -1, -1
	sc.filters, sc.loaded, sc.ids, sc.rec = nil, false, nil, nil
	var err error
	sc.dir, err = b.dir()
	return err
}

// load makes frame i, which starts at row first, the current one.
func (sc *scanner) load(i, first int) error {
	if sc.no == i {
		return nil
	}
	data, err := sc.b.readInto(sc.packed, partFrame+i)
	if err != nil {
		return err
	}
	sc.packed = data
	sc.no, sc.first, sc.row, sc.folds = -1, first, -1, false
	if err := sc.unpack(data, sc.dir.frames[i].rows); err != nil {
		return err
	}
	if sc.rec == nil {
		if sc.rec, err = sc.b.recipes(); err != nil {
			return err
		}
	}
	if _, err := sc.loadIDs(); err != nil {
		return err
	}
	sc.no = i
	return nil
}

// unpack makes a packed frame the current one, by way of the cache.
func (sc *scanner) unpack(packed []byte, rows int) error {
	plain, key := sc.cache.get(packed)
	if plain != nil {
		return sc.frame.open(plain, rows)
	}
	if err := sc.frame.decode(packed, rows); err != nil {
		return err
	}
	sc.cache.put(key, sc.b.seq, sc.frame.plain)
	return nil
}

func (sc *scanner) loadIDs() (*idList, error) {
	if sc.ids == nil {
		ids, err := sc.b.ids()
		if err != nil {
			return nil, err
		}
		sc.ids = &ids
	}
	return sc.ids, nil
}

func (sc *scanner) loadFilters() error {
	if sc.loaded || sc.dir.flags&dirIndexed == 0 {
		return nil
	}
	data, err := sc.b.readInto(sc.text, partText)
	if err != nil {
		return err
	}
	sc.text = data
	sc.filters = make([]textFilter, len(sc.dir.frames))
	for i := range sc.filters {
		if sc.filters[i], data, err = nextTextFilter(data); err != nil {
			return err
		}
	}
	sc.loaded = true
	return nil
}

// doc returns the view of an event of the current frame.
func (sc *scanner) doc(row int) *store.EventView {
	if sc.row == row {
		return &sc.view
	}
	m := sc.b.metaOnce
	sc.ev = picket.Event{ID: sc.ids.at(row), AgentID: m.agent.text(row), Host: m.host.text(row), Type: m.typ.text(row),
		Raw: sc.frame.raw(row - sc.first), Fields: sc.ev.Fields[:0]}
	sc.view.Reset(&sc.ev)
	if sc.rec.of[row] != 0 { // else the leaves are all there is
		sc.ev.Fields = sc.rec.fields(sc.ev.Fields, row, sc.view.Leaves())
	}
	sc.row = row
	return &sc.view
}

// event returns an event of the current frame, with bytes of its own.
func (sc *scanner) event(row int) (picket.Event, error) {
	m, err := sc.b.meta()
	if err != nil {
		return picket.Event{}, err
	}
	ev := picket.Event{ID: sc.ids.at(row), AgentID: m.agent.text(row), Host: m.host.text(row), Type: m.typ.text(row), OS: m.os.text(row),
		Time: fromMicros(m.time[row]), Received: fromMicros(m.received[row]),
		Raw: bytes.Clone(sc.frame.raw(row - sc.first))}
	leaves, _, err := sc.out.Leaves(ev.Raw, nil)
	if err != nil {
		leaves = nil
	}
	ev.Fields = sc.rec.fields(nil, row, leaves)
	return ev, nil
}

// contains tells whether an event of the current frame has n's longest literal,
// by one search through the frame's bytes; sure is false where that can't tell.
func (sc *scanner) contains(n *node, row int) (has, sure bool) {
	if !sc.fast(n) {
		return false, false
	}
	if n.frame != sc.no {
		n.frame = sc.no
		n.hits = newBitset(len(sc.frame.start))
		sc.findRows(n.fast, n.hits)
	}
	return n.hits.has(row - sc.first), true
}

func (sc *scanner) fast(n *node) bool {
	if len(n.fast) == 0 {
		return false
	}
	if sc.filters != nil {
		return sc.filters[sc.no].fast
	}
	return sc.dir.flags&(dirIndexed|dirExotic) == 0
}

// findRows sets the bits of the frame's events whose folded bytes have s.
func (sc *scanner) findRows(s []byte, hits bitset) {
	if !sc.folds {
		sc.folded = appendLowerASCII(sc.folded[:0], sc.frame.data)
		sc.folds = true
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
		if at+len(s) <= end && !escaped(sc.folded[start:at]) {
			hits.set(row)
			at = end
		} else {
			at++
		}
	}
}

// escaped reports whether what follows b is the second half of an escape.
func escaped(b []byte) bool {
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
