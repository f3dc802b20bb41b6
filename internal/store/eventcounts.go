package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"strings"
)

// Bounds of what EventCounts keeps in memory.
const (
	MaxCountedCombinations = 100_000
	maxCountedBytes        = 32 << 20
)

// EventCounts counts events by the values that they have in some fields. It is for one
// goroutine.
type EventCounts struct {
	Fields []string
	Events int64 // counted
	// Uncounted are those of Events whose combination of values came up after the
	// bound on combinations was reached.
	Uncounted int64

	byKey map[string]*EventCount
	bytes int

	key    []byte       // of Add
	values []FieldValue // of CountFieldValues
}

// An EventCount is how many events have a combination of values.
type EventCount struct {
	Values []FieldValue // in the order of EventCounts.Fields
	Count  int64
}

// NewEventCounts returns counts by the values of some fields.
func NewEventCounts(byFields []string) *EventCounts {
	return &EventCounts{Fields: byFields, byKey: make(map[string]*EventCount)}
}

// CountFieldValues counts an event under the values that it has in Fields.
func (c *EventCounts) CountFieldValues(v *EventView) {
	c.values = c.values[:0]
	for _, field := range c.Fields {
		c.values = append(c.values, v.FieldValue(field))
	}
	c.Add(c.values, 1)
}

// Add counts n events with the same values, in the order of Fields.
func (c *EventCounts) Add(values []FieldValue, n int64) {
	c.Events += n
	c.key = c.key[:0]
	for _, v := range values {
		n := uint64(0)
		if v.Present {
			n = uint64(len(v.Text)) + 1
		}
		c.key = append(binary.AppendUvarint(c.key, n), v.Text...) // the length, for a text may contain any byte
	}
	if known := c.byKey[string(c.key)]; known != nil {
		known.Count += n
		return
	}
	size := 2*len(c.key) + 128
	if len(c.byKey) == MaxCountedCombinations || c.bytes+size > maxCountedBytes {
		c.Uncounted += n
		return
	}
	c.bytes += size
	values = slices.Clone(values)
	for i := range values {
		values[i].Text = strings.Clone(values[i].Text)
	}
	c.byKey[string(c.key)] = &EventCount{values, n}
}

// Len returns how many combinations there are.
func (c *EventCounts) Len() int { return len(c.byKey) }

// Top returns the n most frequent combinations, all for 0, the most frequent first.
func (c *EventCounts) Top(n int) []EventCount {
	all := make([]EventCount, 0, len(c.byKey))
	for _, one := range c.byKey {
		all = append(all, *one)
	}
	slices.SortFunc(all, func(a, b EventCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), slices.CompareFunc(a.Values, b.Values, func(a, b FieldValue) int { return strings.Compare(a.Text, b.Text) }))
	})
	if n > 0 && n < len(all) {
		all = all[:n]
	}
	return all
}

// eventsPerCountPage is how many events CountEachEvent reads at a time.
const eventsPerCountPage = 2000

// CountEachEvent is Events.CountEvents by a search for the events.
func CountEachEvent(ctx context.Context, s Events, q EventQuery, fields []string) (*EventCounts, error) {
	counts := NewEventCounts(fields)
	var view EventView
	q.Limit, q.Cursor = eventsPerCountPage, ""
	for {
		page, err := s.SearchEvents(ctx, q)
		if err != nil {
			return nil, err
		}
		for i := range page.Events {
			view.Reset(&page.Events[i])
			counts.CountFieldValues(&view)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return counts, nil
		}
	}
}
