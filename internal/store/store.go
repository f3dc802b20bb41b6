// Package store is the seam behind the workers and the console: events,
// matches, alerts, hosts, and the accounts of people and agents.
//
// Promise: what Save returned nil for is durable and is there exactly once,
// however often its batch is delivered or its sender retries. Implementations
// live in packages of their own and pass storetest.
package store

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/picket-edr/picket"
)

// A Store keeps everything that picket knows. It is safe for concurrent use.
type Store interface {
	Events
	Alerts
	Correlations
	Hosts
	Coordination
	Accounts
	io.Closer
}

// Events keeps events and what rules found in them.
type Events interface {
	// Save stores a batch's new events, their matches, and the alerts those
	// open or join, in one durable step. Events whose ID was stored before
	// are left out, and so are their matches. Saving a batch ID again stores
	// and counts nothing.
	Save(ctx context.Context, batches ...Batch) ([]SaveResult, error)
	// SearchEvents returns the events that q selects, newest received first: in the
	// reverse order of their being stored. The pages of a query are stable
	// while events come in. A cursor that is not of this list is
	// picket.ErrInvalid, here and in all other lists.
	SearchEvents(ctx context.Context, q EventQuery) (EventPage, error)
	// Event returns one event by id; an error that is picket.ErrNotFound
	// where there is none.
	Event(ctx context.Context, id string) (picket.Event, error)
	// Totals returns the counters since the store was made.
	Totals(ctx context.Context) (Totals, error)
	// Activity returns rollups by minute, from since (inclusive) until until
	// (exclusive), oldest first, without minutes in which there was nothing.
	// A zero time does not bound.
	Activity(ctx context.Context, since, until time.Time) ([]MinuteCounts, error)
	// Prune deletes the oldest received events until what is left is within
	// r, and returns how many went.
	Prune(ctx context.Context, r Retention) (int64, error)
}

// A Batch is a batch as detection leaves it.
type Batch struct {
	ID      string
	Events  []picket.Event // with Fields
	Matches []picket.Match // without AlertID, in the order of Events
}

// SaveResult says what became of a batch.
type SaveResult struct {
	Stored         int            // new events
	Duplicate      int            // events known before
	Matches        int            // new matches
	Opened         []picket.Alert // alerts that this batch opened
	DuplicateBatch bool           // the batch itself was saved before; the rest is zero
}

// An EventQuery selects events. The zero value selects all.
type EventQuery struct {
	Where        Expr      // nil: all
	Since, Until time.Time // by event time, from Since (inclusive) until Until (exclusive); zero: open
	Limit        int       // at most; 0: 100
	Cursor       string    // EventPage.Next of the page before
}

// An EventPage is one page of events.
type EventPage struct {
	Events []picket.Event
	Next   string // "" at the end
}

// Totals are counters of events since the store was made; retention does not
// lower Stored.
type Totals struct {
	Stored    int64 `json:"Stored"`
	Duplicate int64 `json:"Duplicate"`
	Matches   int64 `json:"Matches"`
	Events    int64 `json:"Events"`    // kept now
	RawBytes  int64 `json:"RawBytes"`  // of the events kept, as received
	DiskBytes int64 `json:"DiskBytes"` // what the store takes on disk in all
}

// A MinuteCounts counts what was received in one minute.
type MinuteCounts struct {
	Start  time.Time        `json:"Start"`
	Events map[string]int64 `json:"Events"` // by event type
	Alerts map[string]int64 `json:"Alerts"` // opened, by level
}

// Retention bounds what is kept. Zero fields do not bound.
type Retention struct {
	MaxAge   time.Duration // since receipt
	MaxBytes int64         // of events on disk
	Now      time.Time
}

// Alerts keeps matches and the alerts that gather them.
type Alerts interface {
	Alerts(ctx context.Context, q AlertQuery) (AlertPage, error)
	Alert(ctx context.Context, id string) (picket.Alert, error)
	// UpdateAlert triages; each change is added to the alert's notes. To
	// reopen an alert while a newer one of its rule, agent and host is open is
	// picket.ErrConflict.
	UpdateAlert(ctx context.Context, id string, u AlertUpdate) (picket.Alert, error)
	// AlertCounts counts by status, then level, then rule, without a scan of matches.
	AlertCounts(ctx context.Context) (AlertCounts, error)
	Matches(ctx context.Context, q MatchQuery) (MatchPage, error)
}

// An AlertQuery selects alerts, newest LastSeen first. Empty fields select all.
type AlertQuery struct {
	Status       []picket.AlertStatus
	Level        []string
	RuleID       string
	AgentID      string
	Host         string
	Text         string    // in title, rule id, host or agent id, without case
	Since, Until time.Time // by LastSeen
	Limit        int       // 0: 100
	Cursor       string
}

// An AlertPage is one page of alerts.
type AlertPage struct {
	Alerts []picket.Alert
	Next   string
}

// An AlertUpdate changes what is not nil. Author and At go into the notes.
type AlertUpdate struct {
	Status   *picket.AlertStatus
	Assignee *string
	Note     string
	Author   string
	At       time.Time
}

// Apply makes the changes to an alert, and notes each. Times are to the
// microsecond, as stores keep them.
func (u AlertUpdate) Apply(a *picket.Alert) {
	at := time.UnixMicro(u.At.UnixMicro()).UTC()
	note := func(text string) {
		a.Notes = append(a.Notes, picket.Note{Time: at, Author: u.Author, Text: text})
		a.Updated = at
	}
	if u.Status != nil && *u.Status != a.Status {
		note(fmt.Sprintf("status: %s → %s", a.Status, *u.Status))
		a.Status = *u.Status
	}
	if u.Assignee != nil && *u.Assignee != a.Assignee {
		note(fmt.Sprintf("assignee: %s → %s", cmp.Or(a.Assignee, "nobody"), cmp.Or(*u.Assignee, "nobody")))
		a.Assignee = *u.Assignee
	}
	if u.Note != "" {
		note(u.Note)
	}
}

// AlertCounts counts alerts.
type AlertCounts struct {
	Total    int64                                   `json:"Total"`
	ByStatus map[picket.AlertStatus]int64            `json:"ByStatus"`
	ByLevel  map[picket.AlertStatus]map[string]int64 `json:"ByLevel"`  // the same, each by level
	Open     map[string]int64                        `json:"Open"`     // not closed, by level
	TopRules []RuleCount                             `json:"TopRules"` // ten rules with most matches among alerts not closed
}

// NewAlertCounts returns counts of nothing.
func NewAlertCounts() AlertCounts {
	return AlertCounts{ByStatus: make(map[picket.AlertStatus]int64), ByLevel: make(map[picket.AlertStatus]map[string]int64), Open: make(map[string]int64)}
}

// Add counts n alerts of a status and a level.
func (c *AlertCounts) Add(status picket.AlertStatus, level string, n int64) {
	c.Total += n
	c.ByStatus[status] += n
	if c.ByLevel[status] == nil {
		c.ByLevel[status] = make(map[string]int64)
	}
	c.ByLevel[status][level] += n
	if !status.Closed() {
		c.Open[level] += n
	}
}

// A RuleCount is a rule and how many matches its alerts have.
type RuleCount struct {
	RuleID  string `json:"RuleID"`
	Title   string `json:"Title"`
	Level   string `json:"Level"`
	Alerts  int64  `json:"Alerts"`
	Matches int64  `json:"Matches"`
}

// A MatchQuery selects matches, newest stored first. Empty fields select all.
type MatchQuery struct {
	AlertID, RuleID, AgentID, EventID string
	Since, Until                      time.Time // by event time
	Limit                             int       // 0: 100
	Cursor                            string
}

// A MatchPage is one page of matches.
type MatchPage struct {
	Matches []picket.Match
	Next    string
}

// Hosts knows the machines that events came from.
type Hosts interface {
	// Hosts lists hosts by LastSeen, newest first; text selects by name, "" all.
	Hosts(ctx context.Context, text string, limit int, cursor string) (HostPage, error)
	Host(ctx context.Context, name string) (Host, error)
	// CountHosts counts all hosts, and those seen since a time.
	CountHosts(ctx context.Context, since time.Time) (total, online int64, err error)
}

// A Host is a machine that events came from.
type Host struct {
	Name      string    `json:"name"`
	AgentID   string    `json:"agent_id"` // the last that reported it
	OS        string    `json:"os"`       // "windows", "linux", "macos" or ""
	FirstSeen time.Time `json:"first_seen"`
	LastSeen  time.Time `json:"last_seen"` // by receipt
	Events    int64     `json:"events"`
	Alerts    int64     `json:"alerts"` // not closed
}

// A HostPage is one page of hosts.
type HostPage struct {
	Hosts []Host
	Next  string
}
