package block

import (
	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// evaluate sets a node's definite and candidate rows from the block's columns
// and filters.
func (s *Searcher) evaluate(n *queryNode) error {
	rows := s.block.EventCount
	n.hitsFrame, n.filteredByText = -1, false
	switch n.op {
	case opAll:
		n.definite, n.candidates = fullBitset(rows), fullBitset(rows)
	case opAnd:
		return s.evaluateAnd(n)
	case opOr:
		n.definite, n.candidates = newBitset(rows), newBitset(rows)
		for _, c := range n.children {
			if err := s.evaluate(c); err != nil {
				return err
			}
			n.definite.unite(c.definite)
			n.candidates.unite(c.candidates)
		}
	case opNot:
		c := n.children[0]
		if err := s.evaluate(c); err != nil {
			return err
		}
		n.definite, n.candidates = c.candidates.complement(rows), c.definite.complement(rows)
	case opText:
		return s.evaluateText(n)
	case opField:
		return s.evaluateField(n)
	}
	return nil
}

func (s *Searcher) evaluateAnd(n *queryNode) error {
	rows := s.block.EventCount
	n.definite, n.candidates = fullBitset(rows), fullBitset(rows)
	for i, c := range n.children {
		if n.candidates.empty() {
			for _, c := range n.children[i:] { // they cannot change the result any more
				c.definite, c.candidates = newBitset(rows), newBitset(rows)
			}
			break
		}
		if err := s.evaluate(c); err != nil {
			return err
		}
		n.definite.intersect(c.definite)
		n.candidates.intersect(c.candidates)
	}
	return nil
}

// evaluateText rules out the frames that lack a trigram.
func (s *Searcher) evaluateText(n *queryNode) error {
	n.definite = newBitset(s.block.EventCount)
	if err := s.loadFilters(); err != nil {
		return err
	}
	if s.filters == nil {
		n.candidates = fullBitset(s.block.EventCount)
		return nil
	}
	n.candidates = newBitset(s.block.EventCount)
	row := 0
	for i, f := range s.directory.frames {
		if s.filters[i].mayContain(n.trigrams) {
			for r := row; r < row+f.rows; r++ {
				n.candidates.set(r)
			}
		}
		row += f.rows
	}
	return nil
}

func (s *Searcher) evaluateField(n *queryNode) error {
	rows := s.block.EventCount
	builtin, err := s.builtinField(n.field)
	if err != nil {
		return err
	}
	ref, known := s.directory.lookUp(n.field)
	switch {
	case !known && builtin == nil:
		n.definite, n.candidates = newBitset(rows), newBitset(rows)
		return nil
	case !known:
		n.definite = newBitset(rows)
	case ref.part == 0:
		if !ref.derived && builtin == nil {
			n.filteredByText = true
			return s.evaluateText(n)
		}
		n.definite, n.candidates = newBitset(rows), fullBitset(rows)
		return nil
	default:
		col, err := s.readColumn(ref.part)
		if err != nil {
			return err
		}
		n.definite = newBitset(rows)
		if err := col.match(n.match, s.ctxChecker, n.definite); err != nil {
			return err
		}
	}
	if builtin != nil {
		for row := range rows {
			v := builtin(row)
			if err := s.ctxChecker.CountBytes(len(v)); err != nil {
				return err
			}
			if n.match(v) {
				n.definite.set(row)
			}
		}
	}
	n.candidates = n.definite
	if n.field == store.EventTypeField {
		return s.evaluateCategory(n)
	}
	return nil
}

// evaluateCategory adds the rows whose Sigma category matches, as
// store.EventView.AnyValue finds it.
func (s *Searcher) evaluateCategory(n *queryNode) error {
	rows := s.block.EventCount
	m, err := s.block.metadata()
	if err != nil {
		return err
	}
	actions := make([][]string, rows)
	for _, path := range picket.NativeActionPaths() {
		ref, known := s.directory.lookUp(path)
		switch {
		case !known:
			continue
		case ref.part == 0:
			n.candidates = fullBitset(rows)
			return nil
		}
		col, err := s.readColumn(ref.part)
		if err != nil {
			return err
		}
		for row := range rows {
			actions[row] = col.appendValues(actions[row], row)
		}
	}
	for row := range rows {
		eventType := m.eventType.value(row)
		if picket.NativeCategory(eventType, "") == "" {
			continue
		}
		if actions[row] == nil {
			actions[row] = []string{""}
		}
		for _, action := range actions[row] {
			if n.match(picket.NativeCategory(eventType, action)) {
				n.definite.set(row)
			}
		}
	}
	n.candidates = n.definite
	return nil
}

func (s *Searcher) readColumn(part int) (*column, error) {
	data, err := s.block.parts.ReadPart(s.packedBuf, part)
	if err != nil {
		return nil, err
	}
	s.packedBuf = data
	plain, err := decompressPacked(s.columnBuf, data)
	if err != nil {
		return nil, err
	}
	if data[0] == packedZstd {
		s.columnBuf = plain
	}
	return decodeColumn(plain, s.block.EventCount)
}

// builtinField returns the function from a row to the value of a built-in field,
// nil if the field is not built in.
func (s *Searcher) builtinField(field string) (func(row int) string, error) {
	if _, ok := store.BuiltinField(&picket.Event{}, field); !ok {
		return nil, nil
	}
	if field == "event_id" {
		ids, err := s.loadIDs()
		return func(row int) string { return ids.At(row) }, err
	}
	m, err := s.block.metadata()
	if err != nil {
		return nil, err
	}
	return func(row int) string {
		v, _ := store.BuiltinField(&picket.Event{AgentID: m.agent.value(row), Host: m.host.value(row), Type: m.eventType.value(row)}, field)
		return v
	}, nil
}

// rowMatches reports whether a row of the current frame matches. It reads the event
// if the row is a candidate but not definite.
func (s *Searcher) rowMatches(n *queryNode, row int) bool {
	if n.definite.has(row) {
		return true
	}
	if !n.candidates.has(row) {
		return false
	}
	switch n.op {
	case opAnd:
		for _, c := range n.children {
			if !s.rowMatches(c, row) {
				return false
			}
		}
		return true
	case opOr:
		for _, c := range n.children {
			if s.rowMatches(c, row) {
				return true
			}
		}
		return false
	case opNot:
		return !s.rowMatches(n.children[0], row)
	case opText:
		if has, sure := s.containsLiteral(n, row); sure && (n.literalIsWhole || !has) {
			return has
		}
		return n.expr.Match(s.eventView(row))
	}
	if n.filteredByText {
		if has, sure := s.containsLiteral(n, row); sure && !has {
			return false
		}
	}
	return n.expr.Match(s.eventView(row))
}
