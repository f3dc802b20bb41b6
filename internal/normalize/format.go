package normalize

import (
	"strings"

	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/sigma"
)

// A format describes one event format.
type format struct {
	name  string
	index int // in formats

	// discriminators are sets of paths that identify the format: an event has it
	// if all the paths of any one set occur. Formats are tried in the order of
	// formats. "a|b" means that either path will do.
	discriminators [][]string

	// stripPrefixes are removed from paths; the rest is the Sigma name.
	stripPrefixes []string
	// ignored reports whether a path yields no field, because classify uses it.
	ignored func(path string) bool
	// fieldNames are the Sigma names of other paths. All remaining paths are
	// fields under their dotted path.
	fieldNames map[string][]string
	// lastPartPrefixes are the prefixes of paths whose last part is the Sigma
	// name, as in the UserData of Windows events.
	lastPartPrefixes []string

	// Paths of the event's metadata, best first.
	idPaths, agentPaths, hostPaths, timePaths, typePaths, osPaths, classKeyPaths, productPaths []string
	numericID                                                                                  bool

	// classify returns the class, given the values at osPaths and classKeyPaths.
	classify func(r *Reader, d *Event, os, key string) *Class
	// derive appends the fields that combine several paths.
	derive func(d *Event, dst []sigma.Field) []sigma.Field
	// deriveIf: derive is called only if one of these paths occurs.
	deriveIf   []string
	deriveMask uint64 // the bits of deriveIf
	// mayHoldText: a text in the event may be an event or a log line of another
	// format; see detectTextFormat.
	mayHoldText bool
	// matchesText reports whether the event's text has this format. extractEvent
	// returns the event in a text as JSON, nil if there is none.
	matchesText  func(d *Event) bool
	extractEvent func(text string) []byte
	// senderAlert returns the sender's own alert; Read bounds it.
	senderAlert func(d *Event) *SenderAlert
}

// fieldNamesOf returns the Sigma names of a path.
func (m *format) fieldNamesOf(p *flatjson.Path) []string {
	if names, ok := m.fieldNames[p.Name]; ok {
		return names
	}
	if m.ignored != nil && m.ignored(p.Name) {
		return nil
	}
	for _, prefix := range m.stripPrefixes {
		if rest, ok := strings.CutPrefix(p.Name, prefix); ok {
			return m.withAliases(strings.ReplaceAll(rest, " ", ""))
		}
	}
	for _, prefix := range m.lastPartPrefixes {
		if strings.HasPrefix(p.Name, prefix) {
			return m.withAliases(strings.ReplaceAll(p.Key, " ", ""))
		}
	}
	return []string{p.Name}
}

// withAliases returns a stripped name, and what it is called besides.
func (m *format) withAliases(name string) []string {
	if more, ok := m.fieldNames["*."+name]; ok {
		return append([]string{name}, more...)
	}
	return []string{name}
}

// metadataAt returns which metadata of the event a path holds. A path may hold
// several, such as the agent and, if no better path exists, the host.
func (m *format) metadataAt(path string) []rankedMetadataKind {
	var fields []rankedMetadataKind
	for kind, paths := range [metadataKindCount][]string{
		idMetadata: m.idPaths, agentMetadata: m.agentPaths, hostMetadata: m.hostPaths, timeMetadata: m.timePaths, typeMetadata: m.typePaths, osMetadata: m.osPaths, classKeyMetadata: m.classKeyPaths,
		productMetadata: m.productPaths,
	} {
		for i, p := range paths {
			if p == path {
				fields = append(fields, rankedMetadataKind{metadataKind(kind), uint8(i + 1)})
			}
		}
	}
	return fields
}

// formatCount is the number of formats.
const formatCount = 19

// formats are all formats in the order in which they are tried: the more specific
// first. generic takes every remaining event.
var formats, pathBits = assignPathBits([formatCount]format{
	evtxFormat, legacyWindowsFormat, winlogbeatFormat, kunaiFormat, tetragonFormat, falcoFormat, osqueryFormat, ocsfFormat, traceeFormat, nativeFormat, flatWindowsFormat,
	laurelFormat, goAuditFormat, auditbeatFormat, ecsFormat, embeddedEventXMLFormat, auditdFormat, syslogFormat, genericFormat,
})

// assignPathBits assigns a bit to each path of a discriminator and to each top-level
// name of the native format, and computes the masks of deriveIf.
func assignPathBits(ms [formatCount]format) ([formatCount]format, map[string]uint64) {
	bits, used := make(map[string]uint64), 0
	bit := func(path string) uint64 {
		if bits[path] == 0 {
			if used == 64 {
				panic("normalize: more paths in discriminators than bits")
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
		for _, sign := range m.discriminators {
			for _, path := range sign {
				bit(path)
			}
		}
		for _, path := range m.deriveIf {
			m.deriveMask |= bit(path)
		}
		// Recognised in every format.
		m.idPaths = append([]string{"event_id"}, m.idPaths...)
		m.agentPaths = append([]string{"agent_id"}, m.agentPaths...)
		m.typePaths = append([]string{"event_type"}, m.typePaths...)
	}
	return ms, bits
}

// A discriminatorMask is the path bits of one discriminator of a format.
type discriminatorMask struct {
	bits   uint64
	format int
}

// discriminatorMasks are those of all formats in one slice, in the order in which they
// are tried, because every event is checked against them.
var discriminatorMasks = func() (masks []discriminatorMask) {
	for i := range formats {
		for _, sign := range formats[i].discriminators {
			mask := discriminatorMask{format: i}
			for _, path := range sign {
				mask.bits |= pathBits[path]
			}
			masks = append(masks, mask)
		}
	}
	return masks
}()

// detectFormat returns the index of the format with these paths.
func detectFormat(bits uint64) (formatIndex int) {
	for _, m := range discriminatorMasks {
		if bits&m.bits == m.bits {
			return m.format
		}
	}
	return formatCount - 1
}

// Values of classKey.format for classes that several formats share.
const (
	classKeyAnyECS = formatCount + iota
	classKeyAnyAudit
	classKeyAnySyslog
)

// A classKey identifies a class, so that it is created only once.
type classKey struct {
	format        uint8
	os, typ, more string
}

// internClass returns the class of a key, which is created on first use. The parts
// of a key equal entries of fixed tables, so there are few classes.
func (r *Reader) internClass(k classKey, make func() Class) *Class {
	if rt, ok := r.classes[k]; ok {
		return rt
	}
	rt := make()
	k.os, k.typ, k.more = strings.Clone(k.os), strings.Clone(k.typ), strings.Clone(k.more) // they may alias the event
	r.classes[k] = &rt
	return &rt
}

// categoryClass returns the class of events of type typ with an operating system
// and at most one of Sigma's categories.
func (r *Reader) categoryClass(m *format, os, typ, category string) *Class {
	return r.internClass(classKey{uint8(m.index), os, typ, category}, func() Class {
		typ, category := strings.Clone(typ), strings.Clone(category)
		rt := Class{Type: typ, OS: os}
		if category != "" || os != "" {
			rt.Sources = []sigma.LogSource{{Product: os, Category: category}}
		}
		return rt
	})
}

// linuxClass returns the class of an event of a Linux sensor. The type of an event
// without category is the name of its format.
func linuxClass(r *Reader, d *Event, category string) *Class {
	return r.sensorClass(d, "linux", category)
}

// sensorClass is linuxClass for a sensor on any system.
func (r *Reader) sensorClass(d *Event, system, category string) *Class {
	typ := category
	if typ == "" {
		typ = d.format.name
	}
	return r.categoryClass(d.format, system, typ, category)
}

// FormatNames returns the names of all formats.
func FormatNames() []string {
	names := make([]string, formatCount)
	for i := range formats {
		names[i] = formats[i].name
	}
	return names
}
