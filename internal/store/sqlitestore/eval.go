package sqlitestore

import (
	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// A queryNode is an expression of a query while one block is searched. What columns
// and filters tell is two sets: must, the events that surely match, and may,
// those that can; between them, resolve reads the events themselves.
type queryNode struct {
	op       op
	children []*queryNode
	expr     store.Expr // a leaf's
	field    string
	match    func(string) bool // of a field's value
	// literals are texts that a match has, folded; needed are their trigrams.
	literals [][]byte
	trigrams []uint32
	// fast is the longest run of a literal that JSON can write in one way only,
	// as it does; whole says that it is all of a text.
	jsonLiteral    []byte
	literalIsWhole bool

	definite, candidates bitset
	filteredByText       bool // may of a field without column is by its literals
	hitsFrame            int  // that hits is of, -1 none
	hits                 bitset
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

// evaluate fills must and may for a block.
func (sc *Searcher) evaluate(n *queryNode) error {
	size := sc.block.n
	n.hitsFrame, n.filteredByText = -1, false
	switch n.op {
	case opAll:
		n.definite, n.candidates = fullBitset(size), fullBitset(size)
	case opAnd:
		n.definite, n.candidates = fullBitset(size), fullBitset(size)
		for i, k := range n.children {
			if n.candidates.empty() {
				for _, k := range n.children[i:] { // nothing asks them any more
					k.definite, k.candidates = newBitset(size), newBitset(size)
				}
				break
			}
			if err := sc.evaluate(k); err != nil {
				return err
			}
			n.definite.and(k.definite)
			n.candidates.and(k.candidates)
		}
	case opOr:
		n.definite, n.candidates = newBitset(size), newBitset(size)
		for _, k := range n.children {
			if err := sc.evaluate(k); err != nil {
				return err
			}
			n.definite.or(k.definite)
			n.candidates.or(k.candidates)
		}
	case opNot:
		k := n.children[0]
		if err := sc.evaluate(k); err != nil {
			return err
		}
		n.definite, n.candidates = k.candidates.not(size), k.definite.not(size)
	case opText:
		return sc.evaluateText(n)
	case opField:
		return sc.evaluateField(n)
	}
	return nil
}

// evaluateText rules out the frames that lack a trigram.
func (sc *Searcher) evaluateText(n *queryNode) error {
	n.definite = newBitset(sc.block.n)
	if err := sc.loadFilters(); err != nil {
		return err
	}
	if sc.filters == nil {
		n.candidates = fullBitset(sc.block.n)
		return nil
	}
	n.candidates = newBitset(sc.block.n)
	row := 0
	for i, f := range sc.directory.frames {
		if sc.filters[i].mayContain(n.trigrams) {
			for r := row; r < row+f.rows; r++ {
				n.candidates.set(r)
			}
		}
		row += f.rows
	}
	return nil
}

func (sc *Searcher) evaluateField(n *queryNode) error {
	size := sc.block.n
	own, err := sc.builtinField(n.field)
	if err != nil {
		return err
	}
	p, known := sc.directory.lookUp(n.field)
	switch {
	case !known && own == nil:
		n.definite, n.candidates = newBitset(size), newBitset(size)
		return nil
	case !known:
		n.definite = newBitset(size)
		for row := range size {
			if n.match(own(row)) {
				n.definite.set(row)
			}
		}
	case p.part == 0:
		if !p.derived && own == nil {
			n.filteredByText = true
			return sc.evaluateText(n)
		}
		n.definite, n.candidates = newBitset(size), fullBitset(size)
		return nil
	default:
		data, err := sc.block.readInto(sc.packedBuf, p.part)
		if err != nil {
			return err
		}
		sc.packedBuf = data
		plain, err := unpack(sc.columnBuf, data)
		if err != nil {
			return err
		}
		if data[0] == packedZstd {
			sc.columnBuf = plain
		}
		col, err := decodeColumn(plain, size)
		if err != nil {
			return err
		}
		n.definite = newBitset(size)
		col.match(n.match, n.definite)
		if own != nil {
			for row := range size {
				if n.match(own(row)) {
					n.definite.set(row)
				}
			}
		}
	}
	n.candidates = n.definite
	return nil
}

// builtinField returns what says an event's own attribute, nil where the name is none.
func (sc *Searcher) builtinField(field string) (func(row int) string, error) {
	if _, ok := store.BuiltinField(&picket.Event{}, field); !ok {
		return nil, nil
	}
	if field == "event_id" {
		ids, err := sc.loadIDs()
		return func(row int) string { return ids.At(row) }, err
	}
	m, err := sc.block.meta()
	if err != nil {
		return nil, err
	}
	return func(row int) string {
		v, _ := store.BuiltinField(&picket.Event{AgentID: m.agent.value(row), Host: m.host.value(row), Type: m.eventType.value(row)}, field)
		return v
	}, nil
}

// matches tells whether an event of the frame that is loaded matches, reading
// it where must and may leave it open.
func (sc *Searcher) matches(n *queryNode, row int) bool {
	if n.definite.has(row) {
		return true
	}
	if !n.candidates.has(row) {
		return false
	}
	switch n.op {
	case opAnd:
		for _, k := range n.children {
			if !sc.matches(k, row) {
				return false
			}
		}
		return true
	case opOr:
		for _, k := range n.children {
			if sc.matches(k, row) {
				return true
			}
		}
		return false
	case opNot:
		return !sc.matches(n.children[0], row)
	case opText:
		if has, sure := sc.containsLiteral(n, row); sure && (n.literalIsWhole || !has) {
			return has
		}
		return n.expr.Match(sc.eventView(row))
	}
	if n.filteredByText {
		if has, sure := sc.containsLiteral(n, row); sure && !has {
			return false
		}
	}
	return n.expr.Match(sc.eventView(row))
}
