package picket_test

import (
	"testing"
	"time"

	"github.com/picket-edr/picket"
)

// An event dated long after its receipt does not stay on top of the lists.
func TestMatchTime(t *testing.T) {
	received := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		at         time.Time
		fromFuture bool
	}{
		{received, false}, {received.Add(-10 * 365 * 24 * time.Hour), false}, {received.Add(14 * time.Hour), false},
		{received.Add(25 * time.Hour), true}, {time.Date(5138, 11, 16, 9, 46, 39, 0, time.UTC), true},
	} {
		e := picket.Event{Time: c.at, Received: received}
		want := c.at
		if c.fromFuture {
			want = received
		}
		if e.IsFromFuture() != c.fromFuture || !e.PlausibleTime().Equal(want) {
			t.Errorf("%v: from the future: %t, match time %v", c.at, e.IsFromFuture(), e.PlausibleTime())
		}
	}
	e := picket.Event{Time: received} // not received, as in a scan of files
	if e.IsFromFuture() || !e.PlausibleTime().Equal(received) {
		t.Errorf("without a receipt: %v", e.PlausibleTime())
	}
}
