package store_test

import (
	"testing"

	"github.com/picket-edr/picket/internal/store"
)

// Combinations are told apart whatever bytes their values have.
func TestEventCountsOfAnyText(t *testing.T) {
	c := store.NewEventCounts([]string{"a", "b"})
	text := func(s string) store.FieldValue { return store.FieldValue{Text: s, Present: true} }
	combinations := [][]store.FieldValue{
		{text("x\x00\x01y"), text("z")}, {text("x"), text("y\x00\x01z")}, {text(""), {}}, {{}, text("")}, {{}, {}}, {text("\x00"), text("")}, {text(""), text("\x00")},
	}
	for _, values := range combinations {
		c.Add(values, 1)
	}
	if c.Len() != len(combinations) {
		t.Errorf("%d combinations, want %d", c.Len(), len(combinations))
	}
}
