package evtx

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// The types of values. The flag 0x80 means an array of them.
const (
	kindNull       = 0x00
	kindUTF16      = 0x01
	kindANSI       = 0x02
	kindInt8       = 0x03
	kindUint8      = 0x04
	kindInt16      = 0x05
	kindUint16     = 0x06
	kindInt32      = 0x07
	kindUint32     = 0x08
	kindInt64      = 0x09
	kindUint64     = 0x0a
	kindFloat      = 0x0b
	kindDouble     = 0x0c
	kindBool       = 0x0d
	kindBinary     = 0x0e
	kindGUID       = 0x0f
	kindSizeT      = 0x10
	kindFiletime   = 0x11
	kindSystemtime = 0x12
	kindSID        = 0x13
	kindHex32      = 0x14
	kindHex64      = 0x15
	kindXML        = 0x21
	kindArrayFlag  = 0x80
)

// A writer converts elements to JSON. An element becomes its text, or an object of
// its children, with its attributes in "#attributes" and its text in "#text".
// <Data Name="X"> becomes the member X. Elements of the same name become a list.
type writer struct {
	r   *Reader
	out []byte
	// bare: the record is an element itself, not an instance of a template. Its empty
	// elements are empty strings, as those whose values a template substitutes.
	bare    bool
	members []member // of all objects that are being written
}

// A member is an element that is to become a member of an object, or one of its values.
type member struct {
	name    string
	named   bool // name is that of the attribute Name
	element *element
	values  []rawValue
	p       *parser
	next    int // index of the next member of the same name; 0: there is none
	written bool
}

// writeFragment writes a record: an instance of a template, or an element.
func (w *writer) writeFragment(p *parser) {
	content := w.readFragment(p)
	w.bare = p.noDependencyID
	w.out = append(w.out, '{')
	w.writeMembers(p, content, true)
	w.out = append(w.out, '}')
}

// contentWithValues is content with the values of its substitutions.
type contentWithValues struct {
	parts  []part
	values []rawValue
}

// readFragment reads a fragment.
func (w *writer) readFragment(p *parser) contentWithValues {
	if p.depth++; p.depth > maxBinaryXMLDepth {
		p.panicf("nested deeper than %d", maxBinaryXMLDepth)
	}
	if p.peek() == tokenFragmentHeader {
		p.read(4)
	}
	if p.peek()&^tokenMoreFlag == tokenTemplateInstance {
		t, values := p.templateInstance()
		return contentWithValues{t.content, values}
	}
	p.noDependencyID = true
	return contentWithValues{parts: p.content()}
}

// writeMembers writes the elements of b as members of an object; first says that it has
// no members yet.
func (w *writer) writeMembers(p *parser, b contentWithValues, first bool) {
	start := len(w.members)
	w.collectMembers(p, b)
	w.linkSameNamed(start)
	for i := start; i < len(w.members); i++ {
		m := w.members[i]
		if m.written {
			continue
		}
		if !first {
			w.out = append(w.out, ',')
		}
		first = false
		w.writeString(m.name)
		w.out = append(w.out, ':')
		if m.next == 0 {
			w.writeElement(&m)
			continue
		}
		w.out = append(w.out, '[')
		for k := i; ; k = w.members[k].next {
			m := w.members[k]
			w.members[k].written = true
			w.writeElement(&m)
			if m.next == 0 {
				break
			}
			w.out = append(w.out, ',')
		}
		w.out = append(w.out, ']')
	}
	w.members = w.members[:start]
}

// collectMembers appends the elements of b, and those of the fragments in its values.
func (w *writer) collectMembers(p *parser, b contentWithValues) {
	for i := range b.parts {
		pt := &b.parts[i]
		if pt.element != nil {
			w.r.spendChunkMemory(nodeMemoryBytes)
			name, named := w.memberName(pt.element, b.values)
			w.members = append(w.members, member{name: name, named: named, element: pt.element, values: b.values, p: p})
			continue
		}
		if v := b.value(pt); v.kind == kindXML && len(v.data) > 0 {
			in := w.nestedParser(p, v)
			w.collectMembers(&in, w.readFragment(&in))
		}
	}
}

// linkSameNamed links the members from start on that have the same name.
func (w *writer) linkSameNamed(start int) {
	ms := w.members[start:]
	link := func(from, to int) { ms[from].next = start + to }
	if len(ms) > 16 { // more than most objects have
		last := make(map[string]int, len(ms))
		for i := range ms {
			if k, ok := last[ms[i].name]; ok {
				link(k, i)
			}
			last[ms[i].name] = i
		}
		return
	}
	for i := range ms {
		for k := i + 1; k < len(ms); k++ {
			if ms[k].name == ms[i].name {
				link(i, k)
				break
			}
		}
	}
}

// nestedParser returns a parser of a value that is binary XML.
func (w *writer) nestedParser(p *parser, v rawValue) parser {
	// The value is a slice of the chunk, and its names are offsets of the chunk.
	start := cap(p.r.chunk) - cap(v.data)
	return parser{r: p.r, b: p.r.chunk[:start+len(v.data)], at: start, depth: p.depth, noDependencyID: true}
}

func (b contentWithValues) value(pt *part) rawValue {
	if pt.substitution < 0 || pt.substitution >= len(b.values) {
		return rawValue{}
	}
	return b.values[pt.substitution]
}

// memberName returns the name of the member that an element becomes, and whether it is
// that of its attribute Name.
func (w *writer) memberName(e *element, values []rawValue) (name string, named bool) {
	if e.name == "Data" {
		for _, a := range e.attributes {
			if a.name == "Name" {
				if s := w.textOf(contentWithValues{a.parts, values}); s != "" {
					name, named = s, true
				}
			}
		}
	}
	if !named {
		name = e.name
	}
	return name, named
}

// writeElement writes the value that an element becomes.
func (w *writer) writeElement(m *member) {
	e, values, p := m.element, m.values, m.p
	content := contentWithValues{e.content, values}
	attributes := 0
	start := len(w.out)
	for _, a := range e.attributes {
		if m.named && a.name == "Name" {
			continue
		}
		v := contentWithValues{a.parts, values}
		if w.textOf(v) == "" {
			continue
		}
		if attributes++; attributes == 1 {
			w.out = append(w.out, `{"#attributes":{`...)
		} else {
			w.out = append(w.out, ',')
		}
		w.writeString(a.name)
		w.out = append(w.out, ':')
		w.writeScalar(v)
	}
	if attributes > 0 {
		w.out = append(w.out, '}')
	}
	switch {
	case content.hasElements():
		if attributes == 0 {
			w.out = append(w.out[:start], '{')
		}
		w.writeMembers(p, content, attributes == 0)
		w.out = append(w.out, '}')
	case attributes > 0:
		if w.textOf(content) != "" {
			w.out = append(w.out, `,"#text":`...)
			w.writeScalar(content)
		}
		w.out = append(w.out, '}')
	default:
		w.writeScalar(content)
	}
}

// hasElements reports whether b contains elements.
func (b contentWithValues) hasElements() bool {
	for i := range b.parts {
		if b.parts[i].element != nil {
			return true
		}
		if v := b.value(&b.parts[i]); v.kind == kindXML && len(v.data) > 0 {
			return true
		}
	}
	return false
}

// writeScalar writes text content. A single value keeps its type.
func (w *writer) writeScalar(b contentWithValues) {
	if len(b.parts) == 1 && b.parts[0].substitution >= 0 {
		w.writeValue(b.value(&b.parts[0]))
		return
	}
	if len(b.parts) == 0 && !w.bare {
		w.out = append(w.out, "null"...)
		return
	}
	w.writeString(w.textOf(b))
}

func (w *writer) textOf(b contentWithValues) string {
	var s strings.Builder
	for i := range b.parts {
		if b.parts[i].substitution < 0 {
			w.r.spendChunkMemory(len(b.parts[i].text))
			s.WriteString(b.parts[i].text)
			continue
		}
		for k, item := range w.arrayItemsSpendingMemory(b.value(&b.parts[i])) {
			if k > 0 {
				s.WriteString(", ")
			}
			t, _ := item.jsonText()
			s.WriteString(t)
		}
	}
	return s.String()
}

func (w *writer) writeString(s string) {
	w.r.spendChunkMemory(nodeMemoryBytes + len(s))
	q, _ := json.Marshal(s) // a string always marshals
	w.out = append(w.out, q...)
}

func (w *writer) writeValue(v rawValue) {
	items := w.arrayItemsSpendingMemory(v)
	if v.kind&kindArrayFlag != 0 {
		w.out = append(w.out, '[')
	}
	for i, item := range items {
		if i > 0 {
			w.out = append(w.out, ',')
		}
		switch s, quoted := item.jsonText(); {
		case item.kind == kindNull:
			w.out = append(w.out, "null"...)
		case quoted:
			w.writeString(s)
		default:
			w.out = append(w.out, s...)
		}
	}
	if v.kind&kindArrayFlag != 0 {
		w.out = append(w.out, ']')
	}
}

// arrayItemsSpendingMemory returns v.arrayItems, and spends the memory that rendering
// them takes.
func (w *writer) arrayItemsSpendingMemory(v rawValue) []rawValue {
	w.r.spendChunkMemory(nodeMemoryBytes + 4*len(v.data))
	items := v.arrayItems()
	w.r.spendChunkMemory(nodeMemoryBytes * (len(items) - 1))
	return items
}

// arrayItems returns the values of an array, or the value itself.
func (v rawValue) arrayItems() []rawValue {
	if v.kind&kindArrayFlag == 0 {
		return []rawValue{v}
	}
	kind := v.kind &^ kindArrayFlag
	var items []rawValue
	if kind == kindUTF16 {
		for _, s := range strings.Split(strings.TrimSuffix(decodeUTF16(v.data), "\x00"), "\x00") {
			items = append(items, rawValue{kindANSI, []byte(s)})
		}
		return items
	}
	size := fixedSizeByKind[kind]
	for rest := v.data; size > 0 && len(rest) >= size; rest = rest[size:] {
		items = append(items, rawValue{kind, rest[:size]})
	}
	return items
}

var fixedSizeByKind = map[byte]int{
	kindInt8: 1, kindUint8: 1, kindInt16: 2, kindUint16: 2, kindInt32: 4, kindUint32: 4, kindInt64: 8, kindUint64: 8,
	kindFloat: 4, kindDouble: 8, kindBool: 4, kindGUID: 16, kindFiletime: 8, kindSystemtime: 16, kindHex32: 4, kindHex64: 8,
}

// jsonText returns the text of a value, and whether it is a JSON string.
func (v rawValue) jsonText() (text string, quoted bool) {
	d := v.data
	if size, fixed := fixedSizeByKind[v.kind]; fixed && len(d) < size {
		return "", true
	}
	le := binary.LittleEndian
	switch v.kind {
	case kindUTF16:
		return strings.TrimRight(decodeUTF16(d), "\x00"), true
	case kindANSI:
		return strings.ToValidUTF8(strings.TrimRight(string(d), "\x00"), "\ufffd"), true
	case kindInt8:
		return strconv.Itoa(int(int8(d[0]))), false
	case kindUint8:
		return strconv.Itoa(int(d[0])), false
	case kindInt16:
		return strconv.Itoa(int(int16(le.Uint16(d)))), false
	case kindUint16:
		return strconv.Itoa(int(le.Uint16(d))), false
	case kindInt32:
		return strconv.Itoa(int(int32(le.Uint32(d)))), false
	case kindUint32:
		return strconv.FormatUint(uint64(le.Uint32(d)), 10), false
	case kindInt64:
		return strconv.FormatInt(int64(le.Uint64(d)), 10), false
	case kindUint64:
		return strconv.FormatUint(le.Uint64(d), 10), false
	case kindFloat:
		return formatFloat(float64(math.Float32frombits(le.Uint32(d))))
	case kindDouble:
		return formatFloat(math.Float64frombits(le.Uint64(d)))
	case kindBool:
		return strconv.FormatBool(le.Uint32(d) != 0), false
	case kindBinary:
		return fmt.Sprintf("%X", d), true
	case kindGUID:
		return fmt.Sprintf("%08X-%04X-%04X-%X-%X", le.Uint32(d), le.Uint16(d[4:]), le.Uint16(d[6:]), d[8:10], d[10:16]), true
	case kindSizeT, kindHex32, kindHex64:
		if len(d) >= 8 {
			return fmt.Sprintf("0x%x", le.Uint64(d)), true
		} else if len(d) >= 4 {
			return fmt.Sprintf("0x%x", le.Uint32(d)), true
		}
	case kindFiletime:
		return fromFiletime(le.Uint64(d)).Format("2006-01-02T15:04:05.000000Z"), true
	case kindSystemtime:
		u := func(i int) int { return int(le.Uint16(d[2*i:])) }
		t := time.Date(u(0), time.Month(u(1)), u(3), u(4), u(5), u(6), u(7)*1e6, time.UTC)
		return t.Format("2006-01-02T15:04:05.000000Z"), true
	case kindSID:
		return formatSID(d), true
	}
	return "", true
}

func formatFloat(f float64) (text string, quoted bool) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return strconv.FormatFloat(f, 'g', -1, 64), true // JSON has no such number
	}
	return strconv.FormatFloat(f, 'g', -1, 64), false
}

func formatSID(sid []byte) string {
	if len(sid) < 8 || len(sid) < 8+4*int(sid[1]) {
		return ""
	}
	authority := uint64(0)
	for _, b := range sid[2:8] {
		authority = authority<<8 | uint64(b)
	}
	s := fmt.Sprintf("S-%d-%d", sid[0], authority)
	for i := range int(sid[1]) {
		s += fmt.Sprintf("-%d", binary.LittleEndian.Uint32(sid[8+4*i:]))
	}
	return s
}
