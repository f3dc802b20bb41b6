package sqlitestore

import (
	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// A node is an expression of a query while one block is searched. What columns
// and filters tell is two sets: must, the events that surely match, and may,
// those that can; between them, resolve reads the events themselves.
type node struct {
	op    op
	kids  []*node
	expr  store.Expr // a leaf's
	field string
	match func(string) bool // of a field's value
	// literals are texts that a match has, folded; needed are their trigrams.
	literals [][]byte
	needed   []uint32
	// fast is the longest run of a literal that JSON can write in one way only,
	// as it does; whole says that it is all of a text.
	fast  []byte
	whole bool

	must, may bitset
	filtered  bool // may of a field without column is by its literals
	frame     int  // that hits is of, -1 none
	hits      bitset
}

type op uint8

const (
	opAll op = iota // no expression
	opAnd
	opOr
	opNot
	opText
	opField
)

// decide fills must and may for a block.
func (sc *scanner) decide(n *node) error {
	size := sc.b.n
	n.frame, n.filtered = -1, false
	switch n.op {
	case opAll:
		n.must, n.may = fullBitset(size), fullBitset(size)
	case opAnd:
		n.must, n.may = fullBitset(size), fullBitset(size)
		for i, k := range n.kids {
			if n.may.empty() {
				for _, k := range n.kids[i:] { // nothing asks them any more
					k.must, k.may = newBitset(size), newBitset(size)
				}
				break
			}
			if err := sc.decide(k); err != nil {
				return err
			}
			n.must.and(k.must)
			n.may.and(k.may)
		}
	case opOr:
		n.must, n.may = newBitset(size), newBitset(size)
		for _, k := range n.kids {
			if err := sc.decide(k); err != nil {
				return err
			}
			n.must.or(k.must)
			n.may.or(k.may)
		}
	case opNot:
		k := n.kids[0]
		if err := sc.decide(k); err != nil {
			return err
		}
		n.must, n.may = k.may.not(size), k.must.not(size)
	case opText:
		return sc.byText(n)
	case opField:
		return sc.byColumn(n)
	}
	return nil
}

// byText rules out the frames that lack a trigram.
func (sc *scanner) byText(n *node) error {
	n.must = newBitset(sc.b.n)
	if err := sc.loadFilters(); err != nil {
		return err
	}
	if sc.filters == nil {
		n.may = fullBitset(sc.b.n)
		return nil
	}
	n.may = newBitset(sc.b.n)
	row := 0
	for i, f := range sc.dir.frames {
		if sc.filters[i].mayHave(n.needed) {
			for r := row; r < row+f.rows; r++ {
				n.may.set(r)
			}
		}
		row += f.rows
	}
	return nil
}

func (sc *scanner) byColumn(n *node) error {
	size := sc.b.n
	own, err := sc.pseudo(n.field)
	if err != nil {
		return err
	}
	p, known := sc.dir.find(n.field)
	switch {
	case !known && own == nil:
		n.must, n.may = newBitset(size), newBitset(size)
		return nil
	case !known:
		n.must = newBitset(size)
		for row := range size {
			if n.match(own(row)) {
				n.must.set(row)
			}
		}
	case p.part == 0:
		if !p.derived && own == nil {
			n.filtered = true
			return sc.byText(n)
		}
		n.must, n.may = newBitset(size), fullBitset(size)
		return nil
	default:
		data, err := sc.b.readInto(sc.packed, p.part)
		if err != nil {
			return err
		}
		sc.packed = data
		plain, err := unpack(sc.buf, data)
		if err != nil {
			return err
		}
		if data[0] == packedZstd {
			sc.buf = plain
		}
		col, err := decodeColumn(plain, size)
		if err != nil {
			return err
		}
		n.must = newBitset(size)
		col.match(n.match, n.must)
		if own != nil {
			for row := range size {
				if n.match(own(row)) {
					n.must.set(row)
				}
			}
		}
	}
	n.may = n.must
	return nil
}

// pseudo returns what says an event's own attribute, nil where the name is none.
func (sc *scanner) pseudo(field string) (func(row int) string, error) {
	if _, ok := store.BuiltinField(&picket.Event{}, field); !ok {
		return nil, nil
	}
	if field == "event_id" {
		ids, err := sc.loadIDs()
		return func(row int) string { return ids.at(row) }, err
	}
	m, err := sc.b.meta()
	if err != nil {
		return nil, err
	}
	return func(row int) string {
		v, _ := store.BuiltinField(&picket.Event{AgentID: m.agent.text(row), Host: m.host.text(row), Type: m.typ.text(row)}, field)
		return v
	}, nil
}

// resolve tells whether an event of the frame that is loaded matches, reading
// it where must and may leave it open.
func (sc *scanner) resolve(n *node, row int) bool {
	if n.must.has(row) {
		return true
	}
	if !n.may.has(row) {
		return false
	}
	switch n.op {
	case opAnd:
		for _, k := range n.kids {
			if !sc.resolve(k, row) {
				return false
			}
		}
		return true
	case opOr:
		for _, k := range n.kids {
			if sc.resolve(k, row) {
				return true
			}
		}
		return false
	case opNot:
		return !sc.resolve(n.kids[0], row)
	case opText:
		if has, sure := sc.contains(n, row); sure && (n.whole || !has) {
			return has
		}
		return n.expr.Match(sc.doc(row))
	}
	if n.filtered {
		if has, sure := sc.contains(n, row); sure && !has {
			return false
		}
	}
	return n.expr.Match(sc.doc(row))
}
