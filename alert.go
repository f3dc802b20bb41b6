package picket

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/picket-edr/picket/sigma"
)

// A Match is one rule firing on one event.
type Match struct {
	ID      string           `json:"id"` // MatchID(RuleID, EventID)
	RuleID  string           `json:"rule_id"`
	AlertID string           `json:"alert_id"` // given by the store
	EventID string           `json:"event_id"`
	AgentID string           `json:"agent_id"`
	Time    time.Time        `json:"time"` // the event's
	Why     []sigma.Evidence `json:"why"`

	// What the alert shows of the rule and the host; not kept with the match.
	Title string      `json:"-"`
	Level sigma.Level `json:"-"`
	Tags  []string    `json:"-"`
	Host  string      `json:"-"`
	// AlertAgent is the agent that the alert is filed under, "" for AgentID: an
	// alert of a correlation gathers events of several hosts under one.
	AlertAgent string `json:"-"`

	// Observed are the values of the event that correlations want, not nil where
	// one is over the rule. CorrelationOnly says that the rule is there for correlations
	// only: the match is kept as an observation, and opens no alert.
	Observed        map[string]string `json:"-"`
	CorrelationOnly bool              `json:"-"`
}

// MatchID identifies the match of a rule on an event, so that detecting
// twice on one event changes nothing: 32 hex digits of SHA-256 over both ids.
func MatchID(ruleID, eventID string) string {
	h := sha256.New()
	h.Write([]byte(ruleID))
	h.Write([]byte{0})
	h.Write([]byte(eventID))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// AlertID names an alert by the match that opened it, so that opening it twice
// is opening it once.
func AlertID(matchID string) string {
	h := sha256.Sum256([]byte("alert\x00" + matchID))
	return hex.EncodeToString(h[:16])
}

// AlertMatchLimit is how many matches an alert keeps; further ones are only
// counted.
const AlertMatchLimit = 10_000

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
	Count     int64       `json:"count"`      // matches, kept or only counted
	FirstSeen time.Time   `json:"first_seen"` // event time of the earliest match
	LastSeen  time.Time   `json:"last_seen"`  // event time of the latest match
	Opened    time.Time   `json:"opened"`     // when the alert was made, by the server's clock
	Updated   time.Time   `json:"updated"`    // the last match or triage
	Notes     []Note      `json:"notes,omitempty"`
}

// A Note is an analyst's remark on an alert, or the record of a change of its
// status or assignee.
type Note struct {
	Time   time.Time `json:"time"`
	Author string    `json:"author"`
	Text   string    `json:"text"`
}

// AlertStatus is where an alert is in triage.
type AlertStatus string

// A new match joins the alert of its rule and host while that is open or
// being investigated; after it is resolved or dismissed, a new alert opens.
const (
	StatusOpen          AlertStatus = "open"
	StatusInvestigating AlertStatus = "investigating"
	StatusResolved      AlertStatus = "resolved"
	StatusFalsePositive AlertStatus = "false_positive"
)

// Valid reports whether s is one of the four statuses.
func (s AlertStatus) Valid() bool {
	switch s {
	case StatusOpen, StatusInvestigating, StatusResolved, StatusFalsePositive:
		return true
	}
	return false
}

// Closed reports whether triage has ended.
func (s AlertStatus) Closed() bool { return s == StatusResolved || s == StatusFalsePositive }
