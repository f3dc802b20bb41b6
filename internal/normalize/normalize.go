// Package normalize detects the format of an event from its content and maps the
// event to Sigma's terms: its logsources, and its values under Sigma's field
// names. It also finds the event's identity: agent, host, id, type and time.
//
// The intake uses it for the identity of events, workers and picket scan for their
// fields. Each format has a file of its own and is a table (type format), with code
// only where a table does not suffice. docs/formats.md describes them.
package normalize

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/sigma"
)

// A Class is the kind of an event: its type, operating system and logsources.
// There are few classes; within one Reader equal classes are the same pointer, but those
// of declared types may be replaced when there are many.
type Class struct {
	Type    string            // picket.Event.Type, unless the event declares one
	OS      string            // "windows", "linux", "macos" or ""
	Sources []sigma.LogSource // the event belongs to all of them

	// derive appends fields that are computed from the event's own fields, which
	// are dst[from:].
	derive func(dst []sigma.Field, from int) []sigma.Field
	// aliases are further field names of paths in this class.
	aliases map[string][]string
	// nativeExec: the event is the start of a program on Linux, in the native format.
	nativeExec bool
}

// An Event is one event after Read. It is valid until the Reader's next Read. Its
// strings may alias the event's bytes.
type Event struct {
	Format string // the name of its format, such as "winlogbeat"
	Class  *Class
	// ID, AgentID and Type are what the event itself declares, "" if nothing. Host
	// is the machine that it is about.
	ID, AgentID, Host, Type string
	Time                    time.Time // zero if it has none that can be parsed
	Alert                   *SenderAlert

	format   *format
	product  string // that it declares
	pathBits uint64
	leaves   []flatjson.Leaf
	text     *embeddedText // nil in formats without text
}

// A Reader detects and reads events. It is for one goroutine.
type Reader struct {
	dec     flatjson.Decoder
	event   Event
	leaves  []flatjson.Leaf
	classes map[classKey]*Class

	declared     map[declaration]*Class // at most maxDeclaredClasses
	fallbackType string                 // of the current event
	text         embeddedText           // of the current event
	auditEvent   auditEvent
	embedded     *Reader // reads events embedded in others; nil until there is one
}

// NewReader returns a Reader.
func NewReader() *Reader {
	r := &Reader{classes: make(map[classKey]*Class)}
	r.dec.OnPath = setJSONPathData
	return r
}

// A jsonPathData is how the formats interpret one path. A path mostly occurs in events of
// one format, so only the interpretation that was used last is at hand.
type jsonPathData struct {
	path    *flatjson.Path
	format  *format // of mapping; nil: none
	mapping pathMapping
	others  map[*format]pathMapping // nil until a second format uses the path
	// The ranks of the path in textPaths and programPaths, from 1; 0 if it is not
	// among them.
	textRank, programRank uint8
}

// A pathMapping is how one format interprets one path.
type pathMapping struct {
	fields   []string             // names of the value in Sigma
	metadata []rankedMetadataKind // what the value says about the event as a whole
}

// A rankedMetadataKind is a property of the event as a whole that a path holds, such as
// its host. Of several paths with the same metadata, the lowest rank wins.
type rankedMetadataKind struct {
	kind metadataKind
	rank uint8
}

type metadataKind uint8

const (
	idMetadata metadataKind = iota
	agentMetadata
	hostMetadata
	timeMetadata
	typeMetadata
	osMetadata
	classKeyMetadata // what else the class depends on
	productMetadata
	metadataKindCount
)

func setJSONPathData(p *flatjson.Path) {
	t := &jsonPathData{path: p}
	p.Bits = pathBits[p.Name]
	t.textRank = uint8(slices.Index(textPaths, p.Name) + 1)
	t.programRank = uint8(slices.Index(programPaths, p.Name) + 1)
	p.Data = t
}

// mappingFor returns how a format interprets the path. The result is valid until the next
// call.
func (t *jsonPathData) mappingFor(m *format) *pathMapping {
	if t.format != m {
		t.selectFormat(m)
	}
	return &t.mapping
}

func (t *jsonPathData) selectFormat(m *format) {
	if t.format != nil {
		if t.others == nil {
			t.others = make(map[*format]pathMapping)
		}
		t.others[t.format] = t.mapping
	}
	t.format = m
	if known, ok := t.others[m]; ok {
		t.mapping = known
		return
	}
	t.mapping = pathMapping{m.fieldNamesOf(t.path), m.metadataAt(t.path.Name)}
}

// maxEmbeddedTextFields bounds the fields that come from the text in an event.
const maxEmbeddedTextFields = flatjson.MaxLeaves

// Read reads one event. It fails only if raw is not one JSON object in valid UTF-8
// within the limits of flatjson, and if a text in it has more than maxEmbeddedTextFields.
func (r *Reader) Read(raw []byte) (*Event, error) {
	leaves, bits, err := r.dec.Leaves(raw, r.leaves[:0])
	r.leaves = leaves
	if err != nil {
		return nil, err
	}
	i := detectFormat(bits)
	m := &formats[i]
	r.event = Event{Format: m.name, format: m, pathBits: bits, leaves: leaves}
	d := &r.event
	if m.mayHoldText {
		i = r.detectTextFormat(d, i)
		m = &formats[i]
		d.Format, d.format = m.name, m
	}

	var best [metadataKindCount]sigma.Value
	var rank [metadataKindCount]uint8
	for k := range leaves {
		for _, ro := range leaves[k].Path.Data.(*jsonPathData).mappingFor(m).metadata {
			// Of a repeated key the last value wins, as in most JSON parsers.
			if leaves[k].Value.Text != "" && (rank[ro.kind] == 0 || ro.rank <= rank[ro.kind]) {
				best[ro.kind], rank[ro.kind] = leaves[k].Value, ro.rank
			}
		}
	}
	// A numeric event_id is Windows' kind of event, not the id of this one.
	if v := best[idMetadata]; v.Kind == sigma.String || m.numericID && v.Kind == sigma.Number {
		d.ID = v.Text
	}
	d.AgentID, d.Host, d.Type = best[agentMetadata].Text, best[hostMetadata].Text, best[typeMetadata].Text
	d.Time, d.product = parseTime(best[timeMetadata]), best[productMetadata].Text
	d.Class = m.classify(r, d, best[osMetadata].Text, best[classKeyMetadata].Text)
	if d.text != nil && len(d.text.fields) > maxEmbeddedTextFields {
		return nil, fmt.Errorf("the text in it has more than %d fields", maxEmbeddedTextFields)
	}
	if m.senderAlert != nil {
		d.Alert = m.senderAlert(d)
		d.Alert.truncate()
	}
	return d, nil
}

// ReadOfType is Read for an event of which is known from elsewhere, such as the URL that
// it was posted to, what type it has if it declares none.
func (r *Reader) ReadOfType(raw []byte, typ string) (*Event, error) {
	r.fallbackType = typ
	defer func() { r.fallbackType = "" }()
	return r.Read(raw)
}

// DropReferences drops all references to the events that r has read, which would keep the last
// of them in memory with its whole batch.
func (r *Reader) DropReferences() {
	r.event = Event{}
	r.leaves = flatjson.ClearForReuse(r.leaves)
	r.text = embeddedText{fields: flatjson.ClearForReuse(r.text.fields)}
	r.auditEvent.dropReferences()
	if r.embedded != nil {
		r.embedded.DropReferences()
	}
}

// Fields appends the event's values to dst under their Sigma names, or under their
// dotted paths if they have none.
func (d *Event) Fields(dst []sigma.Field) []sigma.Field {
	from := len(dst)
	for k := range d.leaves {
		l := &d.leaves[k]
		for _, name := range l.Path.Data.(*jsonPathData).mappingFor(d.format).fields {
			dst = append(dst, sigma.Field{Name: name, Value: l.Value})
		}
	}
	if d.format.derive != nil && (d.format.deriveIf == nil || d.pathBits&d.format.deriveMask != 0) {
		dst = d.format.derive(d, dst)
	}
	if d.text != nil {
		dst = append(dst, d.text.fields...)
	}
	if d.Class.derive != nil && (d.text == nil || d.text.event == nil) { // the embedded event has done so already
		dst = d.Class.derive(dst, from)
	}
	return dst
}

// value returns the value at a path, the last if it is repeated.
func (d *Event) value(path string) string {
	for k := len(d.leaves) - 1; k >= 0; k-- {
		if d.leaves[k].Path.Name == path {
			return d.leaves[k].Value.Text
		}
	}
	return ""
}

// HasNativeFormatField reports whether the event has one of the top-level names of the native
// format, even with null or an empty object as value.
func (d *Event) HasNativeFormatField(name string) bool {
	return d.pathBits&pathBits[name] != 0 && pathBits[name] != 0
}

// Each calls f with each scalar of the event, in order.
func (d *Event) Each(f func(l flatjson.Leaf)) {
	for _, l := range d.leaves {
		f(l)
	}
}

// normalizeOS maps a sender's name of an operating system to picket's, "" if it is
// unknown.
func normalizeOS(s string) string {
	s = strings.ToLower(s)
	switch {
	case strings.Contains(s, "darwin"), strings.Contains(s, "mac"):
		return "macos"
	case strings.Contains(s, "windows"), s == "win32", s == "win":
		return "windows"
	case s == "":
		return ""
	}
	for _, name := range []string{"linux", "ubuntu", "debian", "centos", "rhel", "red hat", "fedora", "suse", "alpine", "arch", "amazon", "rocky", "alma"} {
		if strings.Contains(s, name) {
			return "linux"
		}
	}
	return ""
}
