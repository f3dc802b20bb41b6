package evtx

import (
	"encoding/binary"
	"fmt"
)

// The tokens of binary XML. The flag 0x40 means that more follows.
const (
	tokenEOF                  = 0x00
	tokenOpenStartElement     = 0x01
	tokenCloseStartElement    = 0x02
	tokenCloseEmptyElement    = 0x03
	tokenEndElement           = 0x04
	tokenValue                = 0x05
	tokenAttribute            = 0x06
	tokenCData                = 0x07
	tokenCharRef              = 0x08
	tokenEntity               = 0x09
	tokenPITarget             = 0x0a
	tokenPIData               = 0x0b
	tokenTemplateInstance     = 0x0c
	tokenNormalSubstitution   = 0x0d
	tokenOptionalSubstitution = 0x0e
	tokenFragmentHeader       = 0x0f
	tokenMoreFlag             = 0x40
)

// Content is what is in an element, a template or a record: elements, or text.
// Substitutions stand for what differs between the records of a template.
type content struct {
	parts       []part
	hasElements bool // besides those that substitutions stand for
	// distinct: there are only elements, each becomes another member, and which one does
	// not depend on a substitution.
	distinct bool
}

// A part is a piece of content: an element, text, or a substitution.
type part struct {
	element      *element
	text         string // escaped for JSON
	substitution int    // -1: none
}

type element struct {
	name       string // escaped for JSON
	attributes []attribute
	content    content
	// memberName is the name of the member that the element becomes: that of its attribute
	// Name, if nameAttribute is its index and the attribute is plain text.
	memberName    string
	nameAttribute int // -1: the element's own name
}

type attribute struct {
	name  string // escaped for JSON
	parts []part
}

// A parser reads binary XML from a chunk. Offsets are those of the chunk.
type parser struct {
	d     *Decoder
	b     []byte
	at    int
	depth int
	// Elements have no dependency id in fragments outside templates.
	noDependencyID bool
}

func (p *parser) panicf(format string, args ...any) {
	panic(formatError(fmt.Sprintf(format, args...) + fmt.Sprintf(" at %#x", p.at)))
}

func (p *parser) read(n int) []byte {
	if n < 0 || n > len(p.b)-p.at {
		p.panicf("%d bytes are missing", n)
	}
	p.at += n
	return p.b[p.at-n : p.at]
}

func (p *parser) u8() byte    { return p.read(1)[0] }
func (p *parser) u16() uint16 { return binary.LittleEndian.Uint16(p.read(2)) }
func (p *parser) u32() uint32 { return binary.LittleEndian.Uint32(p.read(4)) }

func (p *parser) peek() byte {
	if p.at >= len(p.b) {
		return tokenEOF
	}
	return p.b[p.at]
}

// name reads a reference to a name, which is inline if the offset is that of the
// next byte.
func (p *parser) name() string {
	offset := int(p.u32())
	if offset == p.at {
		s, size := p.nameAt(offset)
		p.at += size
		return s
	}
	s, _ := p.nameAt(offset)
	return s
}

func (p *parser) nameAt(offset int) (name string, size int) {
	chunk := p.d.chunk
	if offset < 0 || offset+8 > len(chunk) {
		p.panicf("name offset %#x", offset)
	}
	n := int(binary.LittleEndian.Uint16(chunk[offset+6:]))
	if offset+8+2*n+2 > len(chunk) {
		p.panicf("name at %#x of %d characters", offset, n)
	}
	p.d.spendChunkMemory(4 * n)
	return string(appendUTF16(nil, chunk[offset+8:offset+8+2*n])), 8 + 2*n + 2
}

// maxBinaryXMLDepth bounds the nesting of elements and of templates in values.
const maxBinaryXMLDepth = 32

// content reads parts until the end of the element, or of the fragment.
func (p *parser) content() content {
	c := content{parts: p.parts()}
	c.distinct = true
	for i := range c.parts {
		e := c.parts[i].element
		c.hasElements = c.hasElements || e != nil
		c.distinct = c.distinct && e != nil && !e.hasVariableName()
	}
	c.distinct = c.distinct && haveDistinctNames(c.parts)
	return c
}

// haveDistinctNames reports whether elements become different members.
func haveDistinctNames(elements []part) bool {
	names := make(map[string]bool, len(elements))
	for i := range elements {
		names[elements[i].element.memberName] = true
	}
	return len(names) == len(elements)
}

func (p *parser) parts() []part {
	if p.depth++; p.depth > maxBinaryXMLDepth {
		p.panicf("nested deeper than %d", maxBinaryXMLDepth)
	}
	defer func() { p.depth-- }()
	var parts []part
	for {
		switch token := p.peek(); token &^ tokenMoreFlag {
		case tokenEOF:
			if p.at < len(p.b) {
				p.at++
			}
			return parts
		case tokenEndElement:
			p.at++
			return parts
		case tokenOpenStartElement:
			parts = append(parts, part{element: p.element(), substitution: -1})
		case tokenFragmentHeader:
			p.read(4)
		default:
			parts = append(parts, p.textOrSubstitution())
		}
	}
}

// textOrSubstitution reads one piece of text or a substitution.
func (p *parser) textOrSubstitution() part {
	token := p.u8()
	switch token &^ tokenMoreFlag {
	case tokenValue:
		if kind := p.u8(); kind != kindUTF16 {
			p.panicf("value of type %#x in text", kind)
		}
		return part{text: p.text(), substitution: -1}
	case tokenNormalSubstitution, tokenOptionalSubstitution:
		index := int(p.u16())
		p.u8() // the type, which the value repeats
		return part{substitution: index}
	case tokenCData:
		return part{text: p.text(), substitution: -1}
	case tokenCharRef:
		return part{text: string(appendEscaped(nil, rune(p.u16()))), substitution: -1}
	case tokenEntity:
		name := p.name()
		return part{text: xmlEntities[name], substitution: -1}
	case tokenPITarget:
		p.name()
		return part{substitution: -1}
	case tokenPIData:
		p.read(2 * int(p.u16()))
		return part{substitution: -1}
	}
	p.at--
	p.panicf("token %#x", token)
	return part{}
}

// text reads text after its length.
func (p *parser) text() string {
	n := int(p.u16())
	p.d.spendChunkMemory(4 * n)
	return string(appendUTF16(nil, p.read(2*n)))
}

// nodeMemoryBytes is about what an element or a part takes in memory, in bytes.
const nodeMemoryBytes = 64

// xmlEntities are what entities stand for, escaped for JSON.
var xmlEntities = map[string]string{"amp": "&", "lt": "<", "gt": ">", "quot": `\"`, "apos": "'"}

func (p *parser) element() *element {
	p.d.spendChunkMemory(nodeMemoryBytes)
	token := p.u8()
	if !p.noDependencyID {
		p.u16() // dependency id
	}
	p.u32() // size
	e := &element{name: p.name(), nameAttribute: -1}
	e.memberName = e.name
	if token&tokenMoreFlag != 0 {
		p.u32() // size of the attributes
		for p.peek()&^tokenMoreFlag == tokenAttribute {
			p.at++
			p.d.spendChunkMemory(nodeMemoryBytes)
			a := attribute{name: p.name()}
			for {
				t := p.peek() &^ tokenMoreFlag
				if t != tokenValue && t != tokenNormalSubstitution && t != tokenOptionalSubstitution && t != tokenCharRef && t != tokenEntity {
					break
				}
				a.parts = append(a.parts, p.textOrSubstitution())
			}
			e.attributes = append(e.attributes, a)
		}
	}
	switch token := p.u8(); token {
	case tokenCloseEmptyElement:
	case tokenCloseStartElement:
		e.content = p.content()
	default:
		p.panicf("token %#x after the start of <%s>", token, e.name)
	}
	e.findNameAttribute()
	return e
}

// findNameAttribute finds the attribute of <Data Name="X">, which becomes the member X.
func (e *element) findNameAttribute() {
	if e.name != "Data" {
		return
	}
	for i, a := range e.attributes {
		if a.name != "Name" {
			continue
		}
		text, plain := "", true
		for _, pt := range a.parts {
			text += pt.text
			plain = plain && pt.substitution < 0
		}
		if text != "" || !plain {
			e.nameAttribute = i
		}
		if text != "" && plain {
			e.memberName = text
		}
	}
}

// hasVariableName reports whether the name of the member that e becomes depends on
// substitutions.
func (e *element) hasVariableName() bool {
	return e.nameAttribute >= 0 && e.memberName == e.name
}

// templateInstance reads an instance of a template, and returns the template's content
// and the values.
func (p *parser) templateInstance() (*content, []rawValue) {
	p.read(2) // token, unknown
	p.u32()   // template id
	offset := p.u32()
	t, known := p.d.templates[offset]
	if int(offset) == p.at { // defined inline
		size := binary.LittleEndian.Uint32(p.read(24)[20:])
		if end := p.at + int(size); !known && end <= len(p.b) {
			t = p.parseTemplate(offset)
			p.at = end
		} else {
			p.read(int(size))
		}
	} else if !known {
		t = p.parseTemplate(offset)
	}
	n := int(p.u32())
	if n > len(p.b) {
		p.panicf("%d values", n)
	}
	header := p.read(4 * n)
	p.d.spendChunkMemory(32 * n)
	values := p.d.w.addValues(n)
	for i := range values {
		size := int(binary.LittleEndian.Uint16(header[4*i:]))
		values[i] = rawValue{kind: header[4*i+2], data: p.read(size)}
	}
	return t, values
}

// parseTemplate parses the template at an offset of the chunk, and caches it.
func (p *parser) parseTemplate(offset uint32) *content {
	at := int(offset) + 24
	if at > len(p.d.chunk) {
		p.panicf("template offset %#x", offset)
	}
	size := int(binary.LittleEndian.Uint32(p.d.chunk[at-4:]))
	if size > len(p.d.chunk)-at {
		p.panicf("template of %d bytes", size)
	}
	in := parser{d: p.d, b: p.d.chunk[:at+size], at: at, depth: p.depth}
	c := in.content()
	p.d.templates[offset] = &c
	return &c
}
