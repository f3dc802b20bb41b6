package mongostore

import (
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma/casefold"
)

// An eventDoc is an event as a document of telemetry_events.
type eventDoc struct {
	ID        string        `bson:"_id"` // picket.Event.Key
	EventID   string        `bson:"event_id"`
	Sender    string        `bson:"sender,omitempty"`
	Index     string        `bson:"index,omitempty"`
	AgentID   string        `bson:"agent_id"`
	Type      string        `bson:"event_type"`
	Category  string        `bson:"category,omitempty"` // store.EventView.Category, if that differs from Type
	Host      hostName      `bson:"host"`
	Timestamp bson.DateTime `bson:"timestamp"`
	Received  bson.DateTime `bson:"received"`
	TimeUS    int32         `bson:"timestamp_us,omitempty"` // below the millisecond
	RecvUS    int32         `bson:"received_us,omitempty"`
	Seq       int64         `bson:"seq"`
	Batch     string        `bson:"batch"`          // that has stored it
	Hash      int64         `bson:"hash,omitempty"` // contentHash of Raw
	Bytes     int64         `bson:"bytes"`          // of Raw

	// Raw is the event as received: a string, so that MongoDB can search it, or
	// binary if it is not UTF-8.
	Raw any `bson:"raw"`
	// FieldLayout says how Fields follow from Raw; Literals are the values that are
	// not in Raw. See fieldlayout.go.
	FieldLayout []byte     `bson:"recipe,omitempty"`
	Literals    []string   `bson:"more,omitempty"`
	Names       eventNames `bson:"names"`
	// NotSearchable marks an event whose text MongoDB cannot search.
	NotSearchable bool `bson:"odd,omitempty"`
}

type hostName struct {
	Hostname string `bson:"hostname"`
	OS       string `bson:"os,omitempty"`
}

// eventNames are all values of the fields host and agent_id, folded and cut to
// maxNameBytes: the built-in one, and what the event itself has under these names.
type eventNames struct {
	Host  []string `bson:"host"`
	Agent []string `bson:"agent"`
}

// maxNameBytes is how much of a name is indexed.
const maxNameBytes = 1 << 10

// indexedName returns what is indexed of a name.
func indexedName(name string) string {
	folded := casefold.String(name)
	return strings.ToValidUTF8(folded[:min(len(folded), maxNameBytes)], "\uFFFD")
}

// ifDifferent returns the folded form of s, or "" if that is s.
func ifDifferent(s, folded string) string {
	if s == folded {
		return ""
	}
	return folded
}

// An eventCoder converts events to documents and back. It is for one goroutine.
type eventCoder struct {
	dec    flatjson.Decoder
	leaves []flatjson.Leaf
	view   store.EventView
}

// readLeaves reads the leaves of raw; none if it is not JSON.
func (c *eventCoder) readLeaves(raw []byte) {
	var err error
	if c.leaves, _, err = c.dec.Leaves(raw, c.leaves[:0]); err != nil {
		c.leaves = c.leaves[:0]
	}
}

// encode returns the document of an event with a key that a batch stores.
func (c *eventCoder) encode(ev *picket.Event, key, batch string, seq int64) *eventDoc {
	d := &eventDoc{
		ID: key, EventID: ev.ID, Sender: ev.Sender, Index: ev.Index, AgentID: ev.AgentID, Type: ev.Type, Host: hostName{ev.Host, ev.OS},
		Seq: seq, Batch: batch, Hash: contentHash(ev.Raw), Bytes: int64(len(ev.Raw)),
	}
	d.Timestamp, d.TimeUS = toDate(ev.Time)
	d.Received, d.RecvUS = toDate(ev.Received)
	c.view.Reset(ev)
	d.Category = ifDifferent(ev.Type, c.view.Category())
	c.readLeaves(ev.Raw)
	d.FieldLayout, d.Literals = encodeFields(c.leaves, ev.Fields)
	d.Raw = string(ev.Raw)
	if !utf8.Valid(ev.Raw) {
		d.Raw, d.NotSearchable = bson.Binary{Data: ev.Raw}, true
	}
	for _, l := range d.Literals {
		d.NotSearchable = d.NotSearchable || !utf8.ValidString(l)
	}
	c.setNames(d, ev)
	return d
}

// contentHash returns a hash of an event's bytes, to tell whether a duplicate has the
// same: the length and the CRC-32C. A sender that forges it only hides that it has sent
// other bytes, which are not stored. It is 0 for no bytes.
func contentHash(raw []byte) int64 {
	return int64(len(raw))<<32 | int64(crc32.Checksum(raw, crc32cTable))
}

var crc32cTable = crc32.MakeTable(crc32.Castagnoli)

// setNames sets Names.
func (c *eventCoder) setNames(d *eventDoc, ev *picket.Event) {
	add := func(field, value string) {
		names := &d.Names.Host
		switch field {
		case "host":
		case "agent_id":
			names = &d.Names.Agent
		default:
			return
		}
		if name := indexedName(value); !slices.Contains(*names, name) {
			*names = append(*names, name)
		}
	}
	add("host", ev.Host)
	add("agent_id", ev.AgentID)
	for i := range c.leaves {
		add(c.leaves[i].Path.Name, store.ValueText(c.leaves[i].Value))
	}
	for i := range ev.Fields {
		add(ev.Fields[i].Name, store.ValueText(ev.Fields[i].Value))
	}
}

// eventWithoutContent returns the event of a document without Raw and Fields.
func (d *eventDoc) eventWithoutContent() picket.Event {
	return picket.Event{ID: d.EventID, Sender: d.Sender, Index: d.Index, AgentID: d.AgentID, Host: d.Host.Hostname, Type: d.Type, OS: d.Host.OS,
		Time: fromDate(d.Timestamp, d.TimeUS), Received: fromDate(d.Received, d.RecvUS)}
}

// decode returns the event of a document.
func (c *eventCoder) decode(d *eventDoc) (picket.Event, error) {
	ev := d.eventWithoutContent()
	switch raw := d.Raw.(type) {
	case string:
		ev.Raw = []byte(raw)
	case bson.Binary:
		ev.Raw = raw.Data
	default:
		return ev, fmt.Errorf("read event %s: raw is %T", d.EventID, d.Raw)
	}
	c.readLeaves(ev.Raw)
	var err error
	if ev.Fields, err = decodeFields(c.leaves, d.FieldLayout, d.Literals); err != nil {
		return ev, fmt.Errorf("read event %s: %w", d.EventID, err)
	}
	return ev, nil
}
