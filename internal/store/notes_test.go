package store_test

import (
	"errors"
	"testing"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// An alert takes a bounded number of notes, and can be closed also with as many.
func TestNotesPerAlert(t *testing.T) {
	a := picket.Alert{Status: picket.StatusOpen}
	for range store.MaxNotesPerAlert {
		if err := (store.AlertUpdate{Note: "n"}).Apply(&a); err != nil {
			t.Fatal(err)
		}
	}
	if err := (store.AlertUpdate{Note: "n"}).Apply(&a); !errors.Is(err, picket.ErrConflict) {
		t.Errorf("one note more: %v", err)
	}
	closed, who := picket.StatusResolved, "ann"
	if err := (store.AlertUpdate{Status: &closed, Assignee: &who}).Apply(&a); err != nil || a.Status != closed || a.Assignee != who || len(a.Notes) != store.MaxNotesPerAlert {
		t.Errorf("closed: %v, %s, %s, %d notes", err, a.Status, a.Assignee, len(a.Notes))
	}
}
