package mongostore

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma"
)

// An alertDoc is an alert as a document of alerts.
type alertDoc struct {
	ID string `bson:"_id"`
	// UniqueKey is unique: of an alert that is not closed, it stands for its rule,
	// agent and host; of a closed alert, for itself.
	UniqueKey  string     `bson:"slot"`
	Order      int64      `bson:"order"` // in which alerts were opened
	RuleID     string     `bson:"rule_id"`
	Title      string     `bson:"title"`
	Level      string     `bson:"level"`
	Tags       []string   `bson:"tags"`
	AgentID    string     `bson:"agent_id"`
	Host       string     `bson:"host"`
	Status     string     `bson:"status"`
	Assignee   string     `bson:"assignee,omitempty"`
	Count      int64      `bson:"count"`
	Kept       int64      `bson:"kept"` // how many of its matches are stored
	First      time.Time  `bson:"first_seen"`
	Last       time.Time  `bson:"last_seen"`
	US         alertTimes `bson:"us"` // dates have milliseconds only
	Notes      []noteDoc  `bson:"notes,omitempty"`
	SearchText string     `bson:"fold"` // store.AlertSearchText
}

type alertTimes struct {
	First   int64 `bson:"first"`
	Last    int64 `bson:"last"`
	Opened  int64 `bson:"opened"`
	Updated int64 `bson:"updated"`
}

type noteDoc struct {
	At     int64  `bson:"at"`
	Author string `bson:"author"`
	Text   string `bson:"text"`
}

// openAlertKey returns the UniqueKey of an alert that is not closed.
func openAlertKey(rule, agent, host string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d,%d,%s%s%s", len(rule), len(agent), rule, agent, host)
	return "open " + hex.EncodeToString(h.Sum(nil)[:16])
}

// set sets the document to what the alert is now.
func (d *alertDoc) set(a *picket.Alert) {
	d.RuleID, d.Title, d.Level, d.Tags, d.AgentID, d.Host = a.RuleID, a.Title, a.Level.String(), a.Tags, a.AgentID, a.Host
	d.ID, d.Status, d.Assignee, d.Count = a.ID, string(a.Status), a.Assignee, a.Count
	d.First, d.Last = a.FirstSeen, a.LastSeen
	d.US = alertTimes{a.FirstSeen.UnixMicro(), a.LastSeen.UnixMicro(), a.Opened.UnixMicro(), a.Updated.UnixMicro()}
	d.Notes = d.Notes[:0:0]
	for _, n := range a.Notes {
		d.Notes = append(d.Notes, noteDoc{n.Time.UnixMicro(), n.Author, n.Text})
	}
	d.UniqueKey = openAlertKey(a.RuleID, a.AgentID, a.Host)
	if a.Status.Closed() {
		d.UniqueKey = "closed " + a.ID
	}
	d.SearchText = store.AlertSearchText(a)
}

// alert returns the alert of the document.
func (d *alertDoc) alert() picket.Alert {
	a := picket.Alert{ID: d.ID, RuleID: d.RuleID, Title: d.Title, Level: parseLevel(d.Level), Tags: d.Tags, AgentID: d.AgentID, Host: d.Host,
		Status: picket.AlertStatus(d.Status), Assignee: d.Assignee, Count: d.Count,
		FirstSeen: fromMicros(d.US.First), LastSeen: fromMicros(d.US.Last), Opened: fromMicros(d.US.Opened), Updated: fromMicros(d.US.Updated)}
	if a.Tags == nil {
		a.Tags = []string{}
	}
	for _, n := range d.Notes {
		a.Notes = append(a.Notes, picket.Note{Time: fromMicros(n.At), Author: n.Author, Text: n.Text})
	}
	return a
}

func parseLevel(name string) sigma.Level {
	l, _ := sigma.ParseLevel(name) // "" is no level
	return l
}

// A matchDoc is a match as a document of matches.
type matchDoc struct {
	ID        string        `bson:"_id"`
	Order     int64         `bson:"order"`
	Alert     string        `bson:"alert"`
	RuleID    string        `bson:"rule_id"`
	EventID   string        `bson:"event_id"`
	Namespace string        `bson:"namespace,omitempty"` // of the event
	AgentID   string        `bson:"agent_id"`
	Time      bson.DateTime `bson:"time"`
	US        int64         `bson:"time_us"`
	Why       []evidenceDoc `bson:"why"`
}

type evidenceDoc struct {
	Field string `bson:"field"`
	Value string `bson:"value"`
}

// A hostDoc is a host as a document of hosts. Its _id is hostID of its key. Without Last,
// it only counts the alerts of a host that is not listed: of an event that was past the
// quota of its sender, or of a correlation.
type hostDoc struct {
	ID      string `bson:"_id"`
	AgentID string `bson:"agent_id"`
	OS      string `bson:"os"`
	First   int64  `bson:"first"` // microseconds
	Last    *int64 `bson:"seen,omitempty"`
	Events  int64  `bson:"events"`
	Alerts  int64  `bson:"alerts"` // that are not closed
	Folded  string `bson:"fold"`
}

// hostID returns the _id of a host's document.
func hostID(k store.HostKey) string { return k.Name + store.HostKeySeparator + k.AgentID }

func (d *hostDoc) key() store.HostKey {
	name, _, _ := strings.Cut(d.ID, store.HostKeySeparator)
	return store.HostKey{AgentID: d.AgentID, Name: name}
}

// match returns the match of the document.
func (d *matchDoc) match() picket.Match {
	m := picket.Match{ID: d.ID, RuleID: d.RuleID, AlertID: d.Alert, EventID: d.EventID, EventNamespace: d.Namespace, AgentID: d.AgentID, Time: fromMicros(d.US)}
	for _, w := range d.Why {
		m.Why = append(m.Why, sigma.Evidence{Field: w.Field, Value: w.Value})
	}
	return m
}
