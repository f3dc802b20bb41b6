package evtx

import (
	"encoding/binary"
	"fmt"
	"unicode/utf16"
)

// The tokens of binary XML; 0x40 flags that more follows.
const (
	tokenEOF         = 0x00
	tokenOpen        = 0x01
	tokenCloseOpen   = 0x02
	tokenCloseEmpty  = 0x03
	tokenEnd         = 0x04
	tokenValue       = 0x05
	tokenAttribute   = 0x06
	tokenCData       = 0x07
	tokenCharRef     = 0x08
	tokenEntity      = 0x09
	tokenPITarget    = 0x0a
	tokenPIData      = 0x0b
	tokenTemplate    = 0x0c
	tokenNormalSub   = 0x0d
	tokenOptionalSub = 0x0e
	tokenFragment    = 0x0f
	moreFlag         = 0x40
)

// An element is a node of a template: what is not known before a record
// stands in it as substitutions.
type element struct {
	name       string
	attributes []attribute
	content    []part
}

type attribute struct {
	name  string
	parts []part
}

// A part is a piece of content: an element, text, or a substitution.
type part struct {
	element *element
	text    string
	sub     int // -1: none
}

// A value is one substitution's: its type and bytes.
type value struct {
	kind byte
	data []byte
}

// A parser reads binary XML from a chunk; offsets are the chunk's.
type parser struct {
	r     *Reader
	b     []byte
	at    int
	depth int
	// bare: elements are without dependency id, as in fragments that are not
	// in a template.
	bare bool
}

func (p *parser) fail(format string, args ...any) {
	panic(malformed(fmt.Sprintf(format, args...) + fmt.Sprintf(" at %#x", p.at)))
}

func (p *parser) take(n int) []byte {
	if n < 0 || n > len(p.b)-p.at {
		p.fail("%d bytes are not there", n)
	}
	p.at += n
	return p.b[p.at-n : p.at]
}

func (p *parser) u8() byte    { return p.take(1)[0] }
func (p *parser) u16() uint16 { return binary.LittleEndian.Uint16(p.take(2)) }
func (p *parser) u32() uint32 { return binary.LittleEndian.Uint32(p.take(4)) }

func (p *parser) peek() byte {
	if p.at >= len(p.b) {
		return tokenEOF
	}
	return p.b[p.at]
}

// name reads a reference to a name: inline where the offset points to right
// here, else elsewhere in the chunk.
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

func (p *parser) nameAt(offset int) (string, int) {
	chunk := p.r.chunk
	if offset < 0 || offset+8 > len(chunk) {
		p.fail("name offset %#x", offset)
	}
	n := int(binary.LittleEndian.Uint16(chunk[offset+6:]))
	if offset+8+2*n+2 > len(chunk) {
		p.fail("name at %#x of %d characters", offset, n)
	}
	return wide(chunk[offset+8 : offset+8+2*n]), 8 + 2*n + 2
}

// wide decodes UTF-16.
func wide(b []byte) string {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(u))
}

// maxDepth bounds the nesting of elements and of templates in values.
const maxDepth = 32

// content reads parts until the end of the element, or of the fragment.
func (p *parser) content() []part {
	if p.depth++; p.depth > maxDepth {
		p.fail("nested deeper than %d", maxDepth)
	}
	defer func() { p.depth-- }()
	var parts []part
	for {
		switch token := p.peek(); token &^ moreFlag {
		case tokenEOF:
			if p.at < len(p.b) {
				p.at++
			}
			return parts
		case tokenEnd:
			p.at++
			return parts
		case tokenOpen:
			parts = append(parts, part{element: p.element(), sub: -1})
		case tokenFragment:
			p.take(4)
		default:
			parts = append(parts, p.part())
		}
	}
}

// part reads one piece of text or a substitution.
func (p *parser) part() part {
	token := p.u8()
	switch token &^ moreFlag {
	case tokenValue:
		if kind := p.u8(); kind != kindWide {
			p.fail("value of type %#x in text", kind)
		}
		return part{text: wide(p.take(2 * int(p.u16()))), sub: -1}
	case tokenNormalSub, tokenOptionalSub:
		index := int(p.u16())
		p.u8() // the type, which the value itself says again
		return part{sub: index}
	case tokenCData:
		return part{text: wide(p.take(2 * int(p.u16()))), sub: -1}
	case tokenCharRef:
		return part{text: string(rune(p.u16())), sub: -1}
	case tokenEntity:
		name := p.name()
		return part{text: entities[name], sub: -1}
	case tokenPITarget:
		p.name()
		return part{sub: -1}
	case tokenPIData:
		p.take(2 * int(p.u16()))
		return part{sub: -1}
	}
	p.at--
	p.fail("token %#x", token)
	return part{}
}

var entities = map[string]string{"amp": "&", "lt": "<", "gt": ">", "quot": `"`, "apos": "'"}

func (p *parser) element() *element {
	token := p.u8()
	if !p.bare {
		p.u16() // dependency id
	}
	p.u32() // size
	e := &element{name: p.name()}
	if token&moreFlag != 0 {
		p.u32() // size of the attributes
		for p.peek()&^moreFlag == tokenAttribute {
			p.at++
			a := attribute{name: p.name()}
			for {
				t := p.peek() &^ moreFlag
				if t != tokenValue && t != tokenNormalSub && t != tokenOptionalSub && t != tokenCharRef && t != tokenEntity {
					break
				}
				a.parts = append(a.parts, p.part())
			}
			e.attributes = append(e.attributes, a)
		}
	}
	switch token := p.u8(); token {
	case tokenCloseEmpty:
	case tokenCloseOpen:
		e.content = p.content()
	default:
		p.fail("token %#x after the start of <%s>", token, e.name)
	}
	return e
}

// template reads an instance of a template: what it is an instance of, and
// the values.
func (p *parser) template() (*element, []value) {
	p.take(2) // token, unknown
	p.u32()   // template id
	offset := p.u32()
	t, known := p.r.templates[offset]
	if int(offset) == p.at { // defined right here
		size := binary.LittleEndian.Uint32(p.take(24)[20:])
		if end := p.at + int(size); !known && end <= len(p.b) {
			t = p.define(offset)
			p.at = end
		} else {
			p.take(int(size))
		}
	} else if !known {
		t = p.define(offset)
	}
	n := int(p.u32())
	if n > len(p.b) {
		p.fail("%d values", n)
	}
	head := p.take(4 * n)
	values := make([]value, n)
	for i := range values {
		size := int(binary.LittleEndian.Uint16(head[4*i:]))
		values[i] = value{kind: head[4*i+2], data: p.take(size)}
	}
	return t, values
}

// define parses the template at an offset of the chunk, once.
func (p *parser) define(offset uint32) *element {
	at := int(offset) + 24
	if at > len(p.r.chunk) {
		p.fail("template offset %#x", offset)
	}
	size := int(binary.LittleEndian.Uint32(p.r.chunk[at-4:]))
	if size > len(p.r.chunk)-at {
		p.fail("template of %d bytes", size)
	}
	in := parser{r: p.r, b: p.r.chunk[:at+size], at: at, depth: p.depth}
	e := &element{content: in.content()}
	p.r.templates[offset] = e
	return e
}
