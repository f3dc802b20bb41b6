package sqlitestore

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCursor(t *testing.T) {
	got, err := parseCursor(cursorAlerts, formatCursor(cursorAlerts, -1, 1<<60), 2)
	if d := cmp.Diff([]int64{-1, 1 << 60}, got); d != "" || err != nil {
		t.Errorf("%v %s", err, d)
	}
	if _, err := parseCursor(cursorEvents, formatCursor(cursorAlerts, 1), 1); err == nil {
		t.Error("the cursor of another list is accepted")
	}
}
