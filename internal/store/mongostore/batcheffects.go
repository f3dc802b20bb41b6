package mongostore

import (
	"encoding/json"
	"fmt"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/zst"
	"github.com/picket-edr/picket/sigma"
)

// A batchDoc says that a batch is saved. While the batch is pending, Data has its
// effects; once they are applied, Matches and Opened have the result.
type batchDoc struct {
	ID      string   `bson:"_id"`
	At      int64    `bson:"at"` // when it was saved, microseconds
	Pending bool     `bson:"pending,omitempty"`
	Data    []byte   `bson:"data,omitempty"` // zstd of batchEffects as JSON
	Matches int      `bson:"matches"`
	Opened  []string `bson:"opened,omitempty"` // ids of alerts
}

// batchEffects are what a batch contributes besides its events.
type batchEffects struct {
	Stored       int64               `json:"Stored"`
	Duplicate    int64               `json:"Duplicate"`
	Conflicting  int64               `json:"Conflicting,omitempty"` // of Duplicate
	Raw          int64               `json:"Raw"`                   // bytes of the stored events
	Sender       string              `json:"Sender,omitempty"`
	Hosts        []hostActivity      `json:"Hosts"`
	Minutes      []minuteCount       `json:"Minutes"`
	Matches      []matchRecord       `json:"Matches,omitempty"`
	Observations []store.Observation `json:"Observed,omitempty"`
}

type hostActivity struct {
	Name   string `json:"Name"`
	Agent  string `json:"Agent"`
	OS     string `json:"OS"`
	First  int64  `json:"First"`
	Last   int64  `json:"Last"`
	Events int64  `json:"Events"`
}

func (h *hostActivity) key() store.HostKey { return store.HostKey{AgentID: h.Agent, Name: h.Name} }

// A minuteCount counts the events of a type that were received in a minute.
type minuteCount struct {
	Minute int64  `json:"Minute"`
	Type   string `json:"Type"`
	N      int64  `json:"N"`
}

// A matchRecord is a picket.Match with everything that its alert needs.
type matchRecord struct {
	ID         string           `json:"ID"`
	Rule       string           `json:"Rule"`
	Event      string           `json:"Event"`
	Namespace  string           `json:"Namespace,omitempty"` // of the event
	Agent      string           `json:"Agent"`
	Time       int64            `json:"Time"`
	Why        []sigma.Evidence `json:"Why"`
	Title      string           `json:"Title"`
	Host       string           `json:"Host"`
	Level      sigma.Level      `json:"Level"`
	Tags       []string         `json:"Tags"`
	AlertAgent string           `json:"AlertAgent,omitempty"`
}

func newMatchRecord(m *picket.Match) matchRecord {
	return matchRecord{ID: m.ID, Rule: m.RuleID, Event: m.EventID, Namespace: m.EventNamespace, Agent: m.AgentID, Time: m.Time.UnixMicro(), Why: m.Why,
		Title: m.Title, Host: m.Host, Level: m.Level, Tags: m.Tags, AlertAgent: m.AlertAgent}
}

// newBatchEffects returns the effects of a batch; isNew says which events it has
// stored.
func newBatchEffects(b *store.Batch, isNew []bool) batchEffects {
	out := batchEffects{Sender: b.Sender()}
	var minutes store.MinuteCounter
	var keys []store.HostKey // of hosts, in the order of their first events
	hosts := make(map[store.HostKey]*store.HostActivity)
	for i := range b.Events {
		ev := &b.Events[i]
		if !isNew[i] {
			out.Duplicate++
			continue
		}
		out.Stored++
		out.Raw += int64(len(ev.Raw))
		key := store.HostKey{AgentID: ev.AgentID, Name: ev.Host}
		h := hosts[key]
		if h == nil {
			h = new(store.HostActivity)
			hosts[key] = h
			keys = append(keys, key)
		}
		received := ev.Received.UnixMicro()
		h.Add(ev, received)
		minutes.Add(store.StartOfMinuteMicros(received), ev.Type)
	}
	for _, m := range minutes.Counts {
		out.Minutes = append(out.Minutes, minuteCount(m))
	}
	for _, key := range keys {
		h := hosts[key]
		out.Hosts = append(out.Hosts, hostActivity{Name: key.Name, Agent: key.AgentID, OS: h.OS, First: h.First, Last: h.Last, Events: h.Events})
	}
	for _, m := range store.NewMatches(b, isNew) {
		if m.Observed != nil {
			out.Observations = append(out.Observations, store.NewObservation(&m))
		}
		if !m.CorrelationOnly {
			out.Matches = append(out.Matches, newMatchRecord(&m))
		}
	}
	return out
}

// match returns what is stored of the match.
func (r *matchRecord) match() *picket.Match {
	return &picket.Match{ID: r.ID, RuleID: r.Rule, EventID: r.Event, EventNamespace: r.Namespace, AgentID: r.Agent, Why: r.Why}
}

func (b *batchEffects) encode() ([]byte, error) {
	text, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode the effects of a batch: %w", err)
	}
	return zst.CompressForSpeed(nil, text), nil
}

func decodeBatchEffects(data []byte) (*batchEffects, error) {
	text, err := zst.Decompress(nil, data)
	if err != nil {
		return nil, err
	}
	b := new(batchEffects)
	return b, json.Unmarshal(text, b)
}

// An observationBatch is the observations of one batch in an observationsDoc.
type observationBatch struct {
	At           int64               `json:"At"` // when the batch was saved, microseconds
	Observations []store.Observation `json:"Seen"`
}

// decodeObservations calls add with each observation of an observationsDoc. It decodes
// one at a time: see store.DecodeObservations.
func decodeObservations(data []byte, add func(store.Observation)) error {
	r, err := zst.NewReader(data)
	if err != nil {
		return err
	}
	defer r.Close()
	dec := json.NewDecoder(r)
	if _, err := dec.Token(); err != nil { // [
		return err
	}
	for dec.More() {
		if err := decodeObservationBatch(dec, add); err != nil {
			return err
		}
	}
	return nil
}

func decodeObservationBatch(dec *json.Decoder, add func(store.Observation)) error {
	if _, err := dec.Token(); err != nil { // {
		return err
	}
	var at int64 // comes before Seen, as in observationBatch
	for dec.More() {
		name, err := dec.Token()
		switch {
		case err != nil:
			return err
		case name == "At":
			err = dec.Decode(&at)
		case name == "Seen":
			err = store.DecodeObservations(dec, func(o store.Observation) {
				o.Arrived = fromMicros(at)
				add(o)
			})
		default:
			err = fmt.Errorf("unknown member %v of observations", name)
		}
		if err != nil {
			return err
		}
	}
	_, err := dec.Token() // }
	return err
}
