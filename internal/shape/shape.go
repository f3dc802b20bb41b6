// Package shape tells the shapes of telemetry apart by their content and maps
// each to picket's own terms: who sent it, which host, when, which logsources
// of Sigma it belongs to, and its values under Sigma's field names.
//
// Intake uses it to name events, the worker and `picket scan` to detect on
// them. One shape, one file; a shape is a table (type mapping), with code only
// for what a table can't say. The shapes are described in docs/shapes.md.
package shape

import (
	"slices"
	"strings"
	"time"

	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/sigma"
)

// A Route is what an event's shape and kind say of where it belongs. Routes
// are few; within one Reader, equal routes are one pointer.
type Route struct {
	Type    string            // picket.Event.Type, unless the event declares one
	OS      string            // "windows", "linux", "macos" or ""
	Sources []sigma.LogSource // each is a full description; the event belongs to all

	// derive adds the fields that the kind of event needs made of others: those
	// that it has itself are dst[from:].
	derive func(dst []sigma.Field, from int) []sigma.Field
	// also gives paths further names for the kind of event.
	also map[string][]string
}

// A Verdict is an alert that the sender itself raised, as Falco does.
type Verdict struct {
	RuleID, Title string
	Level         sigma.Level
	Tags          []string
}

// A Doc is one event as read. It is valid until the Reader's next Read; the
// strings in it alias the event's bytes or live on.
type Doc struct {
	Shape string // the name of its shape, as in "winlogbeat"
	Route *Route
	// ID, AgentID and Type are what the event declares of itself; "" where it
	// does not. Host is the machine it is about.
	ID, AgentID, Host, Type string
	Time                    time.Time // zero where there is none that can be read
	Verdict                 *Verdict

	m      *mapping
	marks  uint64
	leaves []flatjson.Leaf
	in     *content // nil of shapes that have none
}

// A Reader reads events, one after another. It is for one goroutine.
type Reader struct {
	dec    flatjson.Decoder
	doc    Doc
	leaves []flatjson.Leaf
	routes map[routeKey]*Route

	in    content // the Doc's
	audit audit
	inner *Reader // of events within events; nil until there is one
}

// NewReader returns a Reader.
func NewReader() *Reader {
	r := &Reader{routes: make(map[routeKey]*Route)}
	r.dec.OnPath = tagPath
	return r
}

// A tag is what all shapes make of one path.
type tag struct {
	of [shapes]meaning
	// Ranks, from 1, among the paths that may hold another event as text, and
	// that say which program a text is of.
	text, program uint8
}

// A meaning is what one shape makes of a path.
type meaning struct {
	fields []string // its Sigma names
	roles  []role   // whether it identifies the event
}

// A role is what a path tells of the event as a whole, and how much it counts
// against other paths with that role: a lower rank wins.
type role struct {
	kind roleKind
	rank uint8
}

type roleKind uint8

const (
	idRole roleKind = iota
	agentRole
	hostRole
	timeRole
	typeRole
	osRole
	keyRole // what the shape routes by, besides
	roleKinds
)

func tagPath(p *flatjson.Path) {
	t := new(tag)
	p.Mark = markBits[p.Name]
	for i := range mappings {
		m := &mappings[i]
		t.of[i] = meaning{m.names(p), m.rolesOf(p.Name)}
	}
	t.text = uint8(slices.Index(textPaths, p.Name) + 1)
	t.program = uint8(slices.Index(programPaths, p.Name) + 1)
	p.Tag = t
}

// Read reads one event. It fails only when raw is not one JSON object in
// valid UTF-8 within flatjson.MaxDepth.
func (r *Reader) Read(raw []byte) (*Doc, error) {
	leaves, marks, err := r.dec.Leaves(raw, r.leaves[:0])
	r.leaves = leaves
	if err != nil {
		return nil, err
	}
	i := recognise(marks)
	m := &mappings[i]
	r.doc = Doc{Shape: m.name, m: m, marks: marks, leaves: leaves}
	d := &r.doc
	if m.texts {
		i = r.byText(d, i)
		m = &mappings[i]
		d.Shape, d.m = m.name, m
	}

	var best [roleKinds]sigma.Value
	var rank [roleKinds]uint8
	for k := range leaves {
		for _, ro := range leaves[k].Path.Tag.(*tag).of[i].roles {
			// The last of equals wins, as with any reader of JSON with a key twice.
			if leaves[k].Value.Text != "" && (rank[ro.kind] == 0 || ro.rank <= rank[ro.kind]) {
				best[ro.kind], rank[ro.kind] = leaves[k].Value, ro.rank
			}
		}
	}
	// A number under event_id is Windows' kind of event, not a name for this one.
	if v := best[idRole]; v.Kind == sigma.String || m.numericID && v.Kind == sigma.Number {
		d.ID = v.Text
	}
	d.AgentID, d.Host, d.Type = best[agentRole].Text, best[hostRole].Text, best[typeRole].Text
	d.Time = parseTime(best[timeRole])
	d.Route = m.route(r, d, best[osRole].Text, best[keyRole].Text)
	if m.verdict != nil {
		d.Verdict = m.verdict(d)
	}
	return d, nil
}

// Fields appends the event's values under Sigma's names to dst; a value that
// has none goes under its dotted path.
func (d *Doc) Fields(dst []sigma.Field) []sigma.Field {
	from := len(dst)
	for k := range d.leaves {
		l := &d.leaves[k]
		for _, name := range l.Path.Tag.(*tag).of[d.m.index].fields {
			dst = append(dst, sigma.Field{Name: name, Value: l.Value})
		}
	}
	if d.m.derive != nil && (d.m.when == nil || d.marks&d.m.whenMask != 0) {
		dst = d.m.derive(d, dst)
	}
	if d.in != nil {
		dst = append(dst, d.in.fields...)
	}
	if d.Route.derive != nil && (d.in == nil || d.in.within == nil) { // which has done so itself
		dst = d.Route.derive(dst, from)
	}
	return dst
}

// get returns the value at a path as received, the last if it is there twice.
func (d *Doc) get(path string) string {
	for k := len(d.leaves) - 1; k >= 0; k-- {
		if d.leaves[k].Path.Name == path {
			return d.leaves[k].Value.Text
		}
	}
	return ""
}

// Has reports whether one of the top-level names of the native shape is there,
// be it only with null or an empty object under it.
func (d *Doc) Has(name string) bool { return d.marks&markBits[name] != 0 && markBits[name] != 0 }

// Each calls f with each scalar of the event, in order.
func (d *Doc) Each(f func(l flatjson.Leaf)) {
	for _, l := range d.leaves {
		f(l)
	}
}

// osOf makes one of picket's words of what senders call an operating system.
func osOf(s string) string {
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
