package picket

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/picket-edr/picket/sigma"
)

// A Match is one rule matching one event.
type Match struct {
	ID             string           `json:"id"` // MatchID(RuleID, EventKey())
	RuleID         string           `json:"rule_id"`
	AlertID        string           `json:"alert_id"` // set by the store
	EventID        string           `json:"event_id"`
	AgentID        string           `json:"agent_id"`
	EventNamespace string           `json:"namespace"` // Event.Namespace
	Time           time.Time        `json:"time"`      // of the event
	Why            []sigma.Evidence `json:"why"`

	// Properties of the rule and the host for the alert; not stored with the match.
	Title string      `json:"-"`
	Level sigma.Level `json:"-"`
	Tags  []string    `json:"-"`
	Host  string      `json:"-"`
	// AlertAgent is the agent of the alert, "" for AgentID. The alert of a
	// correlation, which has events of several hosts, belongs to one of them.
	AlertAgent string `json:"-"`

	// Observed are the event's values for correlations that refer to the rule, nil
	// if there are none. CorrelationOnly: the rule only serves correlations, so the
	// match is stored as an observation and opens no alert.
	Observed        map[string]string `json:"-"`
	CorrelationOnly bool              `json:"-"`
}

// EventKey returns the Key of the event.
func (m *Match) EventKey() string { return EventKey(m.EventID, m.EventNamespace) }

// MatchID returns the id of the match of a rule on an event: 32 hex digits of the
// SHA-256 of the rule's id and the event's key. Detecting an event twice therefore
// yields the same matches.
func MatchID(ruleID, eventKey string) string {
	h := sha256.New()
	h.Write([]byte(ruleID))
	h.Write([]byte{0})
	h.Write([]byte(eventKey))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// AlertID returns the id of an alert, derived from the match that opened it, so that
// opening an alert is idempotent.
func AlertID(openingMatchID string) string {
	h := sha256.Sum256([]byte("alert\x00" + openingMatchID))
	return hex.EncodeToString(h[:16])
}

// MaxStoredMatchesPerAlert is how many matches of an alert are stored; further ones are only
// counted.
const MaxStoredMatchesPerAlert = 10_000

// An Alert is what an analyst triages: the matches of one rule on one host,
// from the first until it is resolved.
type Alert struct {
	ID        string      `json:"id"`
	RuleID    string      `json:"rule_id"`
	Title     string      `json:"title"`
	Level     sigma.Level `json:"level"` // marshals as its name
	Tags      []string    `json:"tags"`
	AgentID   string      `json:"agent_id"`
	Host      string      `json:"host"`
	Status    AlertStatus `json:"status"`
	Assignee  string      `json:"assignee,omitempty"`
	Count     int64       `json:"count"`      // matches, stored or only counted
	FirstSeen time.Time   `json:"first_seen"` // event time of the earliest match
	LastSeen  time.Time   `json:"last_seen"`  // event time of the latest match
	Opened    time.Time   `json:"opened"`     // by the server's clock
	Updated   time.Time   `json:"updated"`    // by the last match or triage
	Notes     []Note      `json:"notes,omitempty"`
}

// A Note is an analyst's comment on an alert, or the record of a change of its status
// or assignee.
type Note struct {
	Time   time.Time `json:"time"`
	Author string    `json:"author"`
	Text   string    `json:"text"`
}

// AlertStatus is the state of an alert in triage. A new match joins the alert of its
// rule and host while that is open or investigating; once it is closed, a new match
// opens another alert.
type AlertStatus string

// The statuses of alerts.
const (
	StatusOpen          AlertStatus = "open"
	StatusInvestigating AlertStatus = "investigating"
	StatusResolved      AlertStatus = "resolved"
	StatusFalsePositive AlertStatus = "false_positive"
)

// AlertStatuses returns the four statuses.
func AlertStatuses() []AlertStatus {
	return []AlertStatus{StatusOpen, StatusInvestigating, StatusResolved, StatusFalsePositive}
}

// AlertLevels returns the names of the levels of alerts, the lowest first.
func AlertLevels() []string {
	var names []string
	for l := sigma.Informational; l <= sigma.Critical; l++ {
		names = append(names, l.String())
	}
	return names
}

// Valid reports whether s is one of the four statuses.
func (s AlertStatus) Valid() bool { return slices.Contains(AlertStatuses(), s) }

// Closed reports whether triage of the alert has ended.
func (s AlertStatus) Closed() bool { return s == StatusResolved || s == StatusFalsePositive }
