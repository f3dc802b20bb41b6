// Package store is the seam behind the workers and the console: events, matches,
// alerts, hosts, and the accounts of users and agents.
//
// Promise: once Save has returned nil, the batch is durable, and it is stored
// exactly once, however often it is delivered or sent. The implementations are
// in packages of their own and pass storetest.
package store

import (
	"context"
	"io"
	"time"

	"github.com/picket-edr/picket"
)

// A Store is picket's database. It is safe for concurrent use.
type Store interface {
	Events
	Alerts
	Correlations
	Hosts
	Coordination
	Accounts
	io.Closer
}

// Events stores events and what the rules have found in them.
type Events interface {
	// Save stores the new events of batches, their matches, and the alerts that
	// those open or join, in one durable step. An event whose KeyIfNamespaced has been stored
	// before is not new; it and its matches are left out. Saving a batch whose ID
	// has been saved before stores and counts nothing.
	Save(ctx context.Context, batches ...Batch) ([]SaveResult, error)
	// Saved reports whether a batch with this ID has been saved.
	Saved(ctx context.Context, batchID string) (bool, error)
	// SearchEvents returns the events that q selects in the reverse of the order
	// in which they were stored. Events that are stored meanwhile do not change
	// the pages of a query. It stops soon after ctx has ended, wherever it is. A
	// cursor of another list is picket.ErrInvalid, and a page is bounded by
	// MaxPageBytes, here and in all other lists.
	SearchEvents(ctx context.Context, q EventQuery) (EventPage, error)
	// CountEvents counts the events that q selects by the values of fields. Limit and
	// Cursor of q have no effect.
	CountEvents(ctx context.Context, q EventQuery, fields []string) (*EventCounts, error)
	// EachFieldNames calls seen with the names of the fields that events have, newest
	// first and some repeatedly, until it returns false. complete is false if older
	// events were left out.
	EachFieldNames(ctx context.Context, seen func(names []string) (more bool)) (complete bool, err error)
	// Event returns the event that ref names. It is picket.ErrNotFound if there is
	// none, and an AmbiguousEventError if there are several.
	Event(ctx context.Context, ref EventSelector) (picket.Event, error)
	// Totals returns the counters since the store was created.
	Totals(ctx context.Context) (Totals, error)
	// Activity returns what was received in each minute from since up to but not
	// including until, oldest first, without minutes in which nothing was. A zero
	// time is no bound.
	Activity(ctx context.Context, since, until time.Time) ([]MinuteCounts, error)
	// PruneEvents deletes the oldest received events until the rest is within r, and
	// returns how many it has deleted.
	PruneEvents(ctx context.Context, r Retention) (int64, error)
}

// A Batch is a batch with the result of detection.
type Batch struct {
	ID      string
	Events  []picket.Event // with Fields
	Matches []picket.Match // without AlertID, in the order of Events
}

// A SaveResult is the result of saving one batch.
type SaveResult struct {
	Stored         int            // new events
	Duplicate      int            // events that were stored before
	Conflicting    []int          // indexes of the duplicates with other bytes than what is stored
	Matches        int            // new matches
	Opened         []picket.Alert // alerts that the batch has opened
	DuplicateBatch bool           // the batch was saved before; everything else is zero
}

// An EventQuery selects events. The zero value selects all.
type EventQuery struct {
	Where        Expr      // nil: all
	Since, Until time.Time // of the events, from Since up to but not including Until; zero: no bound
	Limit        int       // of a page; 0: 100
	Cursor       string    // EventPage.Next of the page before

	// OnlyFields are the fields that the events have, cut to MaxListedValueBytes bytes,
	// for lists that show few; nil: all.
	OnlyFields []string
}

// MaxListedValueBytes is how much of a value EventQuery.OnlyFields returns.
const MaxListedValueBytes = 1 << 10

// An EventPage is one page of events.
type EventPage struct {
	Events []picket.Event
	Next   string // "" on the last page
}

// Totals are counters of events since the store was created. Retention does not
// lower Stored.
type Totals struct {
	Stored      int64 `json:"Stored"`
	Duplicate   int64 `json:"Duplicate"`
	Conflicting int64 `json:"Conflicting"` // of Duplicate, those with other bytes than what is stored
	Matches     int64 `json:"Matches"`
	Events      int64 `json:"Events"`    // stored now
	RawBytes    int64 `json:"RawBytes"`  // of the events stored now, as received
	DiskBytes   int64 `json:"DiskBytes"` // what the whole store takes on disk
	// DamagedBlocks are blocks of events that cannot be read and are left out, and
	// DamagedEvents the events in them. Events does not count those.
	DamagedBlocks int64 `json:"DamagedBlocks,omitempty"`
	DamagedEvents int64 `json:"DamagedEvents,omitempty"`
}

// MinuteCounts counts what was received in one minute.
type MinuteCounts struct {
	Start  time.Time        `json:"Start"`
	Events map[string]int64 `json:"Events"` // by event type
	Alerts map[string]int64 `json:"Alerts"` // opened, by level
}

// Retention limits what is kept. Zero fields are no limit.
type Retention struct {
	MaxAge   time.Duration // since receipt
	MaxBytes int64         // of events on disk
	Now      time.Time
}
