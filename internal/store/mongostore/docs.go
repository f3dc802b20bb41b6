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
	ID   string `bson:"_id"`
	Step int64  `bson:"step"` // that wrote it last
	// Slot is what no two alerts may share: of one that is not closed, its
	// rule, agent and host; of a closed one, itself.
	Slot     string     `bson:"slot"`
	Order    int64      `bson:"order"` // in which alerts were opened
	RuleID   string     `bson:"rule_id"`
	Title    string     `bson:"title"`
	Level    string     `bson:"level"`
	Tags     []string   `bson:"tags"`
	AgentID  string     `bson:"agent_id"`
	Host     string     `bson:"host"`
	Status   string     `bson:"status"`
	Assignee string     `bson:"assignee,omitempty"`
	Count    int64      `bson:"count"`
	Kept     int64      `bson:"kept"` // of its matches
	First    time.Time  `bson:"first_seen"`
	Last     time.Time  `bson:"last_seen"`
	US       alertTimes `bson:"us"` // dates have milliseconds only
	Notes    []noteDoc  `bson:"notes,omitempty"`
	Fold     string     `bson:"fold"` // what AlertQuery.Text is looked for in
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

// slot is where an alert of a rule, agent and host is while it is not closed.
func slot(rule, agent, host string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d,%d,%s%s%s", len(rule), len(agent), rule, agent, host)
	return "open " + hex.EncodeToString(h.Sum(nil)[:16])
}

// put takes over what the alert is now.
func (d *alertDoc) put(a *picket.Alert) {
	d.RuleID, d.Title, d.Level, d.Tags, d.AgentID, d.Host = a.RuleID, a.Title, a.Level.String(), a.Tags, a.AgentID, a.Host
	d.ID, d.Status, d.Assignee, d.Count = a.ID, string(a.Status), a.Assignee, a.Count
	d.First, d.Last = a.FirstSeen, a.LastSeen
	d.US = alertTimes{a.FirstSeen.UnixMicro(), a.LastSeen.UnixMicro(), a.Opened.UnixMicro(), a.Updated.UnixMicro()}
	d.Notes = d.Notes[:0:0]
	for _, n := range a.Notes {
		d.Notes = append(d.Notes, noteDoc{n.Time.UnixMicro(), n.Author, n.Text})
	}
	d.Slot = slot(a.RuleID, a.AgentID, a.Host)
	if a.Status.Closed() {
		d.Slot = "closed " + a.ID
	}
	d.Fold = store.Fold(strings.Join([]string{a.Title, a.RuleID, a.Host, a.AgentID}, "\n"))
}

// alert is the alert that the document keeps.
func (d *alertDoc) alert() picket.Alert {
	a := picket.Alert{ID: d.ID, RuleID: d.RuleID, Title: d.Title, Level: level(d.Level), Tags: d.Tags, AgentID: d.AgentID, Host: d.Host,
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

func level(name string) sigma.Level {
	l, _ := sigma.ParseLevel(name) // "" is none
	return l
}

// A matchDoc is a match as a document of matches.
type matchDoc struct {
	ID      string        `bson:"_id"`
	Order   int64         `bson:"order"`
	Alert   string        `bson:"alert"`
	RuleID  string        `bson:"rule_id"`
	EventID string        `bson:"event_id"`
	AgentID string        `bson:"agent_id"`
	Time    bson.DateTime `bson:"time"`
	US      int64         `bson:"time_us"`
	Why     []whyDoc      `bson:"why"`
}

type whyDoc struct {
	Field string `bson:"field"`
	Value string `bson:"value"`
}

// A hostDoc is a host as a document of hosts.
type hostDoc struct {
	Name    string    `bson:"_id"`
	Step    int64     `bson:"step"`
	AgentID string    `bson:"agent_id"`
	OS      string    `bson:"os"`
	First   int64     `bson:"first"` // microseconds
	Last    int64     `bson:"seen"`
	At      time.Time `bson:"last_seen"`
	Events  int64     `bson:"events"`
	Alerts  int64     `bson:"alerts"`
	Fold    string    `bson:"fold"`
}

// A minuteDoc counts what was received in a minute, in rollups.
type minuteDoc struct {
	ID     string    `bson:"_id"`
	Start  int64     `bson:"start"` // microseconds
	Step   int64     `bson:"step"`
	At     time.Time `bson:"minute"`
	Events []tally   `bson:"events"`
	Alerts []tally   `bson:"alerts"`
}

// minuteID names the document of a minute.
func minuteID(start int64) string { return fromMicros(start).Format("2006-01-02T15:04") }

// A tally is a name and how often. Names are data, so they are no keys.
type tally struct {
	Name string `bson:"name"`
	N    int64  `bson:"n"`
}

func addTally(list []tally, name string, n int64) []tally {
	for i := range list {
		if list[i].Name == name {
			list[i].N += n
			return list
		}
	}
	return append(list, tally{name, n})
}

// A ruleDoc counts a rule's alerts that are not closed, in rule_stats.
type ruleDoc struct {
	ID      string `bson:"_id"`
	Step    int64  `bson:"step"`
	Title   string `bson:"title"`
	Level   string `bson:"level"`
	Alerts  int64  `bson:"alerts"`
	Matches int64  `bson:"matches"` // of these
}

// The totalsDoc is the one document of totals.
type totalsDoc struct {
	ID        string     `bson:"_id"`
	Step      int64      `bson:"step"`
	Stored    int64      `bson:"stored"`
	Duplicate int64      `bson:"duplicate"`
	Matches   int64      `bson:"matches"`
	Raw       int64      `bson:"raw"` // bytes of the events stored
	Gone      int64      `bson:"gone"`
	GoneRaw   int64      `bson:"gone_raw"` // of those deleted again
	Alerts    []standing `bson:"alerts"`
}

const totalsID = "totals"

// A standing counts the alerts of a status and level.
type standing struct {
	Status string `bson:"status"`
	Level  string `bson:"level"`
	N      int64  `bson:"n"`
}

func (t *totalsDoc) countAlert(a *picket.Alert, n int64) {
	status, level := string(a.Status), a.Level.String()
	for i := range t.Alerts {
		if s := &t.Alerts[i]; s.Status == status && s.Level == level {
			s.N += n
			return
		}
	}
	t.Alerts = append(t.Alerts, standing{status, level, n})
}

// match is the match that the document keeps.
func (d *matchDoc) match() picket.Match {
	m := picket.Match{ID: d.ID, RuleID: d.RuleID, AlertID: d.Alert, EventID: d.EventID, AgentID: d.AgentID, Time: fromMicros(d.US)}
	for _, w := range d.Why {
		m.Why = append(m.Why, sigma.Evidence{Field: w.Field, Value: w.Value})
	}
	return m
}
