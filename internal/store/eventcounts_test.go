package store_test

import (
	"fmt"
	"testing"

	"github.com/picket-edr/picket/internal/store"
)

// Past the bounds of memory, events of further combinations are only counted together.
func TestEventCountsAreBounded(t *testing.T) {
	counts := store.NewEventCounts([]string{"a", "b"})
	add := func(text string, n int64) {
		counts.Add([]store.FieldValue{{Text: text, Present: true}, {}}, n)
	}
	for i := range store.MaxCountedCombinations + 10 {
		add(fmt.Sprint(i), 1)
	}
	add("7", 5)
	add("another", 3)
	if counts.Len() != store.MaxCountedCombinations || counts.Uncounted != 13 || counts.Events != store.MaxCountedCombinations+18 {
		t.Errorf("%d combinations, %d events, %d of them uncounted", counts.Len(), counts.Events, counts.Uncounted)
	}
	if top := counts.Top(1); len(top) != 1 || top[0].Count != 6 || top[0].Values[0].Text != "7" {
		t.Errorf("the most frequent: %v", top)
	}
}
