package mongostore

import (
	"fmt"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/internal/store"
)

// An eventDoc is an event as a document of telemetry_events.
type eventDoc struct {
	ID        string        `bson:"_id"`
	EventID   string        `bson:"event_id"`
	AgentID   string        `bson:"agent_id"`
	Type      string        `bson:"event_type"`
	Host      hostName      `bson:"host"`
	Timestamp bson.DateTime `bson:"timestamp"`
	Received  bson.DateTime `bson:"received"`
	TimeUS    int32         `bson:"timestamp_us,omitempty"` // below the millisecond
	RecvUS    int32         `bson:"received_us,omitempty"`
	Seq       int64         `bson:"seq"`
	Batch     string        `bson:"batch"` // that stored it

	// Raw is the event as received: a string, so that MongoDB can search it,
	// or binary where it is no UTF-8.
	Raw any `bson:"raw"`
	// Recipe says how Fields come from Raw, and More are those of their values
	// that are not in it. See fields.go.
	Recipe []byte   `bson:"recipe,omitempty"`
	More   []string `bson:"more,omitempty"`
	// Fold is what searches for host and agent compare with, where that is not
	// what they are called.
	Fold *folded `bson:"fold,omitempty"`
	// Own lists the names of the event's own attributes under which the event
	// itself says something else.
	Own []string `bson:"own,omitempty"`
	// Odd marks an event whose texts can't be searched by MongoDB.
	Odd bool `bson:"odd,omitempty"`
}

type hostName struct {
	Hostname string `bson:"hostname"`
	OS       string `bson:"os,omitempty"`
}

type folded struct {
	Host  string `bson:"host,omitempty"`
	Agent string `bson:"agent,omitempty"`
}

// unlike returns s where it is not as searches compare it.
func unlike(is, s string) string {
	if is == s {
		return ""
	}
	return s
}

// A coder makes documents of events and events of documents. It is for one
// goroutine.
type coder struct {
	dec    flatjson.Decoder
	leaves []flatjson.Leaf
}

// read reads the leaves of raw; there are none if it is not JSON.
func (c *coder) read(raw []byte) {
	var err error
	if c.leaves, _, err = c.dec.Leaves(raw, c.leaves[:0]); err != nil {
		c.leaves = c.leaves[:0]
	}
}

// encode makes the document of an event that a batch stores.
func (c *coder) encode(ev *picket.Event, batch string, seq int64) *eventDoc {
	d := &eventDoc{
		ID: ev.ID, EventID: ev.ID, AgentID: ev.AgentID, Type: ev.Type, Host: hostName{ev.Host, ev.OS},
		Seq: seq, Batch: batch,
	}
	is := folded{store.Fold(ev.Host), store.Fold(ev.AgentID)}
	if f := (folded{unlike(ev.Host, is.Host), unlike(ev.AgentID, is.Agent)}); f != (folded{}) {
		d.Fold = &f
	}
	d.Timestamp, d.TimeUS = toDate(ev.Time)
	d.Received, d.RecvUS = toDate(ev.Received)
	c.read(ev.Raw)
	d.Recipe, d.More = encodeFields(c.leaves, ev.Fields)
	d.Raw = string(ev.Raw)
	if !utf8.Valid(ev.Raw) {
		d.Raw, d.Odd = bson.Binary{Data: ev.Raw}, true
	}
	for _, m := range d.More {
		d.Odd = d.Odd || !utf8.ValidString(m)
	}
	c.own(d, ev, is)
	return d
}

// own notes where the event says of itself other than picket does.
func (c *coder) own(d *eventDoc, ev *picket.Event, attributes folded) {
	note := func(name, value, is string) {
		if store.Fold(value) == is {
			return
		}
		for _, n := range d.Own {
			if n == name {
				return
			}
		}
		d.Own = append(d.Own, name)
	}
	check := func(name, value string) {
		switch name {
		case "host":
			note(name, value, attributes.Host)
		case "agent_id":
			note(name, value, attributes.Agent)
		}
	}
	for i := range c.leaves {
		check(c.leaves[i].Path.Name, store.ValueText(c.leaves[i].Value))
	}
	for i := range ev.Fields {
		check(ev.Fields[i].Name, store.ValueText(ev.Fields[i].Value))
	}
}

// decode makes the event of a document.
func (c *coder) decode(d *eventDoc) (picket.Event, error) {
	ev := picket.Event{ID: d.ID, AgentID: d.AgentID, Host: d.Host.Hostname, Type: d.Type, OS: d.Host.OS,
		Time: fromDate(d.Timestamp, d.TimeUS), Received: fromDate(d.Received, d.RecvUS)}
	switch raw := d.Raw.(type) {
	case string:
		ev.Raw = []byte(raw)
	case bson.Binary:
		ev.Raw = raw.Data
	default:
		return ev, fmt.Errorf("read event %s: raw is %T", d.ID, d.Raw)
	}
	c.read(ev.Raw)
	var err error
	if ev.Fields, err = decodeFields(c.leaves, d.Recipe, d.More); err != nil {
		return ev, fmt.Errorf("read event %s: %w", d.ID, err)
	}
	return ev, nil
}
