package block

import (
	"context"
	"encoding/binary"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// Count adds the events of a block that match to counts. It ends as Search does.
func (s *Searcher) Count(ctx context.Context, b *Block, q *Query, counts *store.EventCounts) error {
	s.ctxChecker = store.NewContextChecker(ctx)
	s.view.ContextChecker = s.ctxChecker
	if err := s.count(b, q, counts); err != nil {
		return b.wrapError(err)
	}
	return ctx.Err()
}

func (s *Searcher) count(b *Block, q *Query, counts *store.EventCounts) error {
	if err := s.open(b); err != nil {
		return err
	}
	if err := s.evaluate(q.root); err != nil || q.root.candidates.empty() {
		return err
	}
	m, err := b.metadata()
	if err != nil {
		return err
	}
	columns, err := s.countedColumns(counts.Fields)
	if err != nil {
		return err
	}
	rows := s.candidatesWithinBounds(m, q)
	combinations := make(map[string]int64)
	var key []byte
	start := 0
	for i, f := range s.directory.frames {
		for row := start; row < start+f.rows; row++ {
			if !rows.has(row) {
				continue
			}
			if columns == nil || !q.root.definite.has(row) {
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
			}
			if columns == nil {
				counts.CountFieldValues(s.eventView(row))
				continue
			}
			key = key[:0]
			for _, c := range columns {
				key = binary.LittleEndian.AppendUint16(key, c.rows[row])
			}
			combinations[string(key)]++
		}
		start += f.rows
	}
	for key, n := range combinations {
		values := make([]store.FieldValue, len(columns))
		for i, c := range columns {
			values[i] = c.fieldValue(int(binary.LittleEndian.Uint16([]byte(key[2*i:]))))
		}
		counts.Add(values, n)
	}
	return nil
}

// countedColumns returns the columns of fields, nil if the values of one of them are only
// in the events.
func (s *Searcher) countedColumns(fields []string) ([]*column, error) {
	columns := make([]*column, len(fields))
	for i, field := range fields {
		var err error
		if columns[i], err = s.countedColumn(field); err != nil || columns[i] == nil {
			return nil, err
		}
	}
	return columns, nil
}

// countedColumn returns the column with the values that store.EventView.FieldValue
// returns, nil if there is none.
func (s *Searcher) countedColumn(field string) (*column, error) {
	m, err := s.block.metadata()
	if err != nil {
		return nil, err
	}
	switch field {
	case "agent_id":
		return m.agent, nil
	case "host":
		return m.host, nil
	case store.EventTypeField:
		return s.categoryColumn(m)
	}
	if store.IsBuiltinField(field) {
		return nil, nil
	}
	return s.columnOf(field)
}

// columnOf returns the column of a field that is not built in, nil if the values are
// only in the events.
func (s *Searcher) columnOf(field string) (*column, error) {
	ref, known := s.directory.lookUp(field)
	switch {
	case !known:
		return &column{rows: make([]uint16, s.block.EventCount)}, nil
	case ref.part == 0:
		return nil, nil
	}
	return s.readColumn(ref.part)
}

// categoryColumn returns the column of store.EventView.Category.
func (s *Searcher) categoryColumn(m *eventMetadata) (*column, error) {
	rows := s.block.EventCount
	actions := make([]string, rows)
	for _, path := range picket.NativeActionPaths() {
		c, err := s.columnOf(path)
		if err != nil || c == nil {
			return nil, err
		}
		for row := range rows {
			if values := c.appendValues(nil, row); len(values) > 0 && actions[row] == "" {
				actions[row] = values[len(values)-1]
			}
		}
	}
	b := newColumnBuilder(store.EventTypeField, rows)
	for row := range rows {
		eventType := m.eventType.value(row)
		if category := picket.NativeCategory(eventType, actions[row]); category != "" {
			eventType = category
		}
		b.indexOrAdd(row, eventType)
	}
	return b.build(rows), nil
}

// fieldValue returns the value of the rows with a code, which is an entry + 1.
func (c *column) fieldValue(code int) store.FieldValue {
	switch e := code - 1; {
	case e < 0:
		return store.FieldValue{}
	case e < len(c.values):
		return store.NewFieldValue(c.values[e : e+1])
	default:
		var texts []string
		for _, v := range c.tuples[e-len(c.values)] {
			texts = append(texts, c.values[v])
		}
		return store.NewFieldValue(texts)
	}
}
