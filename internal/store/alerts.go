package store

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/sigma/casefold"
)

// Alerts stores matches and the alerts that they belong to.
type Alerts interface {
	Alerts(ctx context.Context, q AlertQuery) (AlertPage, error)
	Alert(ctx context.Context, id string) (picket.Alert, error)
	// UpdateAlert changes an alert and adds a note for each change. Reopening an
	// alert while a newer one of its rule, agent and host is open is
	// picket.ErrConflict.
	UpdateAlert(ctx context.Context, id string, u AlertUpdate) (picket.Alert, error)
	// AlertCounts counts alerts by status, level and rule. It reads no matches.
	AlertCounts(ctx context.Context) (AlertCounts, error)
	Matches(ctx context.Context, q MatchQuery) (MatchPage, error)
	// PruneAlerts deletes the closed alerts that were last changed before a time,
	// with their matches, and returns how many alerts it has deleted.
	PruneAlerts(ctx context.Context, before time.Time) (int64, error)
}

// An AlertQuery selects alerts, newest LastSeen first. Empty fields select all.
type AlertQuery struct {
	Status       []picket.AlertStatus
	Level        []string
	RuleID       string
	AgentID      string
	Host         string
	Assignee     *string   // "": nobody; nil: all
	Text         string    // part of the title, rule id, host or agent id, in any case
	Since, Until time.Time // of LastSeen
	Limit        int       // 0: 100
	Cursor       string
}

// An AlertPage is one page of alerts.
type AlertPage struct {
	Alerts []picket.Alert
	Next   string
}

// AlertSearchText returns the text in which AlertQuery.Text is searched for, folded. A
// line end keeps a search from matching across two parts of it.
func AlertSearchText(a *picket.Alert) string {
	return casefold.String(strings.Join([]string{a.Title, a.RuleID, a.Host, a.AgentID}, "\n"))
}

// An AlertUpdate changes what is not nil. Author and At are those of the notes.
type AlertUpdate struct {
	Status   *picket.AlertStatus
	Assignee *string
	Note     string
	Author   string
	At       time.Time
}

// Validate returns picket.ErrInvalid for a status that does not exist.
func (u AlertUpdate) Validate() error {
	if u.Status != nil && !u.Status.Valid() {
		return fmt.Errorf("no status is called %q: %w", *u.Status, picket.ErrInvalid)
	}
	return nil
}

// MaxNotesPerAlert is how many notes an alert may have.
const MaxNotesPerAlert = 1000

// Apply makes the changes to an alert and adds their notes. Times are to the
// microsecond, as stores keep them. It returns picket.ErrConflict for a note to an alert
// that has MaxNotesPerAlert; a change of its status or assignee then leaves no note.
func (u AlertUpdate) Apply(a *picket.Alert) error {
	if u.Note != "" && len(a.Notes) >= MaxNotesPerAlert {
		return fmt.Errorf("the alert has %d notes and takes no more: %w", len(a.Notes), picket.ErrConflict)
	}
	at := time.UnixMicro(u.At.UnixMicro()).UTC()
	note := func(text string) {
		a.Updated = at
		if len(a.Notes) >= MaxNotesPerAlert {
			return
		}
		a.Notes = append(a.Notes, picket.Note{Time: at, Author: u.Author, Text: text})
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
	return nil
}

// AlertCounts counts alerts.
type AlertCounts struct {
	Total    int64                                   `json:"Total"`
	ByStatus map[picket.AlertStatus]int64            `json:"ByStatus"`
	ByLevel  map[picket.AlertStatus]map[string]int64 `json:"ByLevel"`  // of each status
	Open     map[string]int64                        `json:"Open"`     // not closed, by level
	TopRules []RuleCount                             `json:"TopRules"` // the ten rules with most matches in alerts that are not closed
}

// NewAlertCounts returns counts of no alerts.
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

// A RuleCount counts the alerts of a rule and their matches.
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
	EventNamespace                    string    // with EventID: on the event in this namespace, or NoEventNamespace
	Since, Until                      time.Time // of the events
	Limit                             int       // 0: 100
	Cursor                            string
}

// A MatchPage is one page of matches.
type MatchPage struct {
	Matches []picket.Match
	Next    string
}
