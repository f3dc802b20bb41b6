package mongostore

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/zst"
	"github.com/picket-edr/picket/sigma"
)

// A batchDoc says that a batch is saved. While it is pending, Data is what the
// batch brought and what is yet to be folded into counters, hosts and alerts;
// after that it says what became of it.
type batchDoc struct {
	ID      string   `bson:"_id"`
	At      int64    `bson:"at"` // when it was saved, microseconds
	Pending bool     `bson:"pending,omitempty"`
	Data    []byte   `bson:"data,omitempty"` // zstd of a brought as JSON
	Matches int      `bson:"matches"`
	Opened  []string `bson:"opened,omitempty"`
}

// brought is what a batch brings beside its events.
type brought struct {
	Stored    int64               `json:"Stored"`
	Duplicate int64               `json:"Duplicate"`
	Raw       int64               `json:"Raw"`
	Hosts     []hostSeen          `json:"Hosts"`
	Minutes   []minuteSeen        `json:"Minutes"`
	Matches   []matched           `json:"Matches,omitempty"`
	Observed  []store.Observation `json:"Observed,omitempty"`
}

type hostSeen struct {
	Name   string `json:"Name"`
	Agent  string `json:"Agent"`
	OS     string `json:"OS"`
	First  int64  `json:"First"`
	Last   int64  `json:"Last"`
	Events int64  `json:"Events"`
}

type minuteSeen struct {
	Minute int64  `json:"Minute"`
	Type   string `json:"Type"`
	N      int64  `json:"N"`
}

// matched is a picket.Match with all that its alert needs.
type matched struct {
	ID         string           `json:"ID"`
	Rule       string           `json:"Rule"`
	Event      string           `json:"Event"`
	Agent      string           `json:"Agent"`
	Time       int64            `json:"Time"`
	Why        []sigma.Evidence `json:"Why"`
	Title      string           `json:"Title"`
	Host       string           `json:"Host"`
	Level      sigma.Level      `json:"Level"`
	Tags       []string         `json:"Tags"`
	AlertAgent string           `json:"AlertAgent,omitempty"`
}

func newMatched(m *picket.Match) matched {
	return matched{ID: m.ID, Rule: m.RuleID, Event: m.EventID, Agent: m.AgentID, Time: m.Time.UnixMicro(), Why: m.Why,
		Title: m.Title, Host: m.Host, Level: m.Level, Tags: m.Tags, AlertAgent: m.AlertAgent}
}

// bring sums up a batch of which isNew says which events it stored.
func bring(b *store.Batch, isNew []bool) brought {
	var out brought
	hosts := make(map[string]int)
	for i := range b.Events {
		ev := &b.Events[i]
		if !isNew[i] {
			out.Duplicate++
			continue
		}
		out.Stored++
		out.Raw += int64(len(ev.Raw))
		h, ok := hosts[ev.Host]
		if !ok {
			h = len(out.Hosts)
			hosts[ev.Host] = h
			out.Hosts = append(out.Hosts, hostSeen{Name: ev.Host})
		}
		out.Hosts[h].see(ev)
		out.count(minuteOf(ev.Received.UnixMicro()), ev.Type)
	}
	for _, m := range newMatches(b, isNew) {
		if m.Observed != nil {
			out.Observed = append(out.Observed, store.Observation{RuleID: m.RuleID, EventID: m.EventID, AgentID: m.AgentID, Host: m.Host, Time: m.Time, Fields: m.Observed})
		}
		if !m.Silent {
			out.Matches = append(out.Matches, newMatched(m))
		}
	}
	return out
}

// see notes an event of the host.
func (h *hostSeen) see(ev *picket.Event) {
	at := ev.Received.UnixMicro()
	if h.Events == 0 || at >= h.Last {
		h.Last, h.Agent = at, ev.AgentID
		if ev.OS != "" {
			h.OS = ev.OS
		}
	}
	if h.Events == 0 || at < h.First {
		h.First = at
	}
	h.Events++
}

func (b *brought) count(minute int64, typ string) {
	for i := len(b.Minutes) - 1; i >= 0; i-- { // the last is likely the same
		if m := &b.Minutes[i]; m.Minute == minute && m.Type == typ {
			m.N++
			return
		}
	}
	b.Minutes = append(b.Minutes, minuteSeen{minute, typ, 1})
}

// newMatches returns the matches of events that are new. Matches come in the
// order of events; where an id is there twice, each has the matches that follow it.
func newMatches(b *store.Batch, isNew []bool) []*picket.Match {
	var out []*picket.Match
	at := 0
	for k := range b.Matches {
		m := &b.Matches[k]
		of := func(ev picket.Event) bool { return ev.ID == m.EventID }
		i := slices.IndexFunc(b.Events[at:], of)
		if i >= 0 {
			at += i
			i = at
		} else { // out of order: the first event of that id
			i = slices.IndexFunc(b.Events, of)
		}
		if i >= 0 && isNew[i] {
			out = append(out, m)
		}
	}
	return out
}

func (b *brought) encode() ([]byte, error) {
	text, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode what a batch brings: %w", err)
	}
	return zst.Fast(nil, text), nil
}

func decodeBrought(data []byte) (*brought, error) {
	text, err := zst.Decode(nil, data)
	if err != nil {
		return nil, err
	}
	b := new(brought)
	return b, json.Unmarshal(text, b)
}

// observedBatch is what a document of observations keeps of a batch.
type observedBatch struct {
	At   int64               `json:"At"`
	Seen []store.Observation `json:"Seen"`
}

func decodeObserved(data []byte) ([]store.Observation, error) {
	text, err := zst.Decode(nil, data)
	if err != nil {
		return nil, err
	}
	var batches []observedBatch
	if err := json.Unmarshal(text, &batches); err != nil {
		return nil, err
	}
	var out []store.Observation
	for _, b := range batches {
		for i := range b.Seen {
			b.Seen[i].Arrived = time.UnixMicro(b.At).UTC()
		}
		out = append(out, b.Seen...)
	}
	return out, nil
}
