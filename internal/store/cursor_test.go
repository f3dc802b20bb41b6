package store_test

import (
	"errors"
	"math"
	"testing"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

func TestCursor(t *testing.T) {
	for _, c := range []store.Cursor{
		{List: store.EventCursor}, {List: store.AlertCursor, A: -1, B: 1 << 60}, {List: store.HostCursor, A: math.MaxInt64, B: math.MinInt64, Name: "WS-1\x1fé"},
	} {
		got, err := store.ParseCursor(c.List, c.String())
		if got != c || err != nil {
			t.Errorf("%q is %+v, %v; want %+v", c, got, err, c)
		}
		for _, bad := range []string{"", "e", c.String() + "0", c.String() + "xx", c.String()[:32], "m" + c.String()[1:]} {
			if _, err := store.ParseCursor(c.List, bad); !errors.Is(err, picket.ErrInvalid) {
				t.Errorf("%q: %v", bad, err)
			}
		}
	}
	// A store may refuse text that is not UTF-8.
	text := store.Cursor{List: store.HostCursor, Name: "\xff"}.String()
	if c, err := store.ParseCursor(store.HostCursor, text); c.Name != "\uFFFD" || err != nil {
		t.Errorf("%q is %+v, %v", text, c, err)
	}
}
