package shape

import (
	"strings"

	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/sigma"
)

// A mapping is one shape as data.
type mapping struct {
	name  string
	index int // in mappings

	// signs are the ways to know the shape: it is this one if all the paths of
	// any one sign occur. Shapes are tried in the order of mappings. Paths with a
	// bar between them are alternatives: any of them will do.
	signs [][]string

	// strip are prefixes of paths whose rest is the Sigma name.
	strip []string
	// hide says which paths have no name, since route tells what they say.
	hide func(path string) bool
	// fields gives the Sigma names of other paths. A path that neither has
	// keeps its dotted path as its name.
	fields map[string][]string
	// last: under these prefixes the last part of the path is the name, as in
	// the UserData of Windows events.
	last []string

	// Paths that identify the event, best first.
	id, agent, host, time, typ, os, key []string
	numericID                           bool

	// route says where an event belongs, given the values at os and key.
	route func(r *Reader, d *Doc, os, key string) *Route
	// derive adds the fields that are made of several paths.
	derive func(d *Doc, dst []sigma.Field) []sigma.Field
	// when: derive has something to do only if one of these paths occurs.
	when     []string
	whenMask uint64 // made from when
	// texts: an event of this shape may have another in a text, see byText.
	texts bool
	// content tells by the text whether an event is of this shape, and unwrap
	// makes an event of its own of the text, nil if there is none.
	content func(d *Doc) bool
	unwrap  func(text string) []byte
	// verdict is the sender's own alert.
	verdict func(d *Doc) *Verdict
}

// names returns the Sigma names of a path under the mapping.
func (m *mapping) names(p *flatjson.Path) []string {
	if names, ok := m.fields[p.Name]; ok {
		return names
	}
	if m.hide != nil && m.hide(p.Name) {
		return nil
	}
	for _, prefix := range m.strip {
		if rest, ok := strings.CutPrefix(p.Name, prefix); ok {
			return m.named(strings.ReplaceAll(rest, " ", ""))
		}
	}
	for _, prefix := range m.last {
		if strings.HasPrefix(p.Name, prefix) {
			return m.named(strings.ReplaceAll(p.Key, " ", ""))
		}
	}
	return []string{p.Name}
}

// named returns a stripped name, and what it is called besides.
func (m *mapping) named(name string) []string {
	if more, ok := m.fields["*."+name]; ok {
		return append([]string{name}, more...)
	}
	return []string{name}
}

// rolesOf returns what a path tells of the event: one may be the agent's name
// and, for want of a better, the host's.
func (m *mapping) rolesOf(path string) []role {
	var roles []role
	for kind, paths := range [roleKinds][]string{
		idRole: m.id, agentRole: m.agent, hostRole: m.host, timeRole: m.time, typeRole: m.typ, osRole: m.os, keyRole: m.key,
	} {
		for i, p := range paths {
			if p == path {
				roles = append(roles, role{roleKind(kind), uint8(i + 1)})
			}
		}
	}
	return roles
}

// shapes is how many there are.
const shapes = 19

// mappings are the shapes in the order in which they are tried: the more
// particular first. generic takes what is left.
var mappings, markBits = numbered([shapes]mapping{
	evtx, intermediate, winlogbeat, kunai, tetragon, falco, osquery, ocsf, tracee, native, flatWindows,
	laurel, goAudit, auditbeat, ecs, eventXML, auditd, syslog, generic,
})

// numbered gives each sign's paths, and those that native is checked for, a
// bit among the marks, and makes the masks of when.
func numbered(ms [shapes]mapping) ([shapes]mapping, map[string]uint64) {
	bits, used := make(map[string]uint64), 0
	bit := func(path string) uint64 {
		if bits[path] == 0 {
			if used == 64 {
				panic("shape: more paths in signs than bits")
			}
			for alternative := range strings.SplitSeq(path, "|") {
				bits[alternative] = 1 << used
			}
			bits[path] = 1 << used
			used++
		}
		return bits[path]
	}
	for _, path := range []string{"agent_id", "event_id", "event_type", "timestamp", "severity", "version", "host", "process", "file", "network"} {
		bit(path)
	}
	for i := range ms {
		m := &ms[i]
		m.index = i
		for _, sign := range m.signs {
			for _, path := range sign {
				bit(path)
			}
		}
		for _, path := range m.when {
			m.whenMask |= bit(path)
		}
		// Honoured in every shape.
		m.id = append([]string{"event_id"}, m.id...)
		m.agent = append([]string{"agent_id"}, m.agent...)
		m.typ = append([]string{"event_type"}, m.typ...)
	}
	return ms, bits
}

// A signMask is the marks of one sign of a shape.
type signMask struct {
	marks uint64
	shape int
}

// signMasks are all signs in the order in which they are tried, in one piece,
// as every event goes through them.
var signMasks = func() (masks []signMask) {
	for i := range mappings {
		for _, sign := range mappings[i].signs {
			mask := signMask{shape: i}
			for _, path := range sign {
				mask.marks |= markBits[path]
			}
			masks = append(masks, mask)
		}
	}
	return masks
}()

func recognise(marks uint64) int {
	for _, m := range signMasks {
		if marks&m.marks == m.marks {
			return m.shape
		}
	}
	return shapes - 1
}

// Routes that several shapes share, or that have more to them, are told apart
// by a number beyond those of shapes.
const (
	ecsRoutes = shapes + iota
	auditRoutes
	logRoutes
)

// A routeKey is what a route was made of, so that it is made once.
type routeKey struct {
	shape         uint8
	os, typ, more string
}

// routed returns the route of a key, made on first use. The parts of a key
// come from fixed tables, never from the event, so that routes stay few.
func (r *Reader) routed(k routeKey, make func() Route) *Route {
	if rt, ok := r.routes[k]; ok {
		return rt
	}
	rt := make()
	r.routes[k] = &rt
	return &rt
}

// categoryRoute is the route of shapes that have an operating system and one
// category of Sigma: typ names the event, category may be "".
func (r *Reader) categoryRoute(m *mapping, os, typ, category string) *Route {
	return r.routed(routeKey{uint8(m.index), os, typ, category}, func() Route {
		rt := Route{Type: typ, OS: os}
		if category != "" || os != "" {
			rt.Sources = []sigma.LogSource{{Product: os, Category: category}}
		}
		return rt
	})
}

// linuxRoute is the route of an event of a Linux sensor; one that no category
// of Sigma names is called by its shape.
func linuxRoute(r *Reader, d *Doc, category string) *Route {
	return r.sensorRoute(d, "linux", category)
}

// sensorRoute is the route of an event of a sensor on a system.
func (r *Reader) sensorRoute(d *Doc, system, category string) *Route {
	typ := category
	if typ == "" {
		typ = d.m.name
	}
	return r.categoryRoute(d.m, system, typ, category)
}

// Names returns the names of all shapes.
func Names() []string {
	names := make([]string, shapes)
	for i := range mappings {
		names[i] = mappings[i].name
	}
	return names
}
