package evtx

import (
	"encoding/binary"
	"fmt"
	"unicode/utf16"
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

// An element is a node of a template. Substitutions stand for what differs between
// records.
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
	element      *element
	text         string
	substitution int // -1: none
}

// A rawValue is the type and the bytes of a substitution.
type rawValue struct {
	kind byte
	data []byte
}

// A parser reads binary XML from a chunk. Offsets are those of the chunk.
type parser struct {
	r     *Reader
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
	chunk := p.r.chunk
	if offset < 0 || offset+8 > len(chunk) {
		p.panicf("name offset %#x", offset)
	}
	n := int(binary.LittleEndian.Uint16(chunk[offset+6:]))
	if offset+8+2*n+2 > len(chunk) {
		p.panicf("name at %#x of %d characters", offset, n)
	}
	p.r.spendChunkMemory(4 * n)
	return decodeUTF16(chunk[offset+8 : offset+8+2*n]), 8 + 2*n + 2
}

// decodeUTF16 decodes UTF-16.
func decodeUTF16(utf16le []byte) string {
	u := make([]uint16, len(utf16le)/2)
	for i := range u {
		u[i] = binary.LittleEndian.Uint16(utf16le[2*i:])
	}
	return string(utf16.Decode(u))
}

// maxBinaryXMLDepth bounds the nesting of elements and of templates in values.
const maxBinaryXMLDepth = 32

// content reads parts until the end of the element, or of the fragment.
func (p *parser) content() []part {
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
		return part{text: string(rune(p.u16())), substitution: -1}
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
	p.r.spendChunkMemory(4 * n)
	return decodeUTF16(p.read(2 * n))
}

// nodeMemoryBytes is about what an element or a part takes in memory, in bytes.
const nodeMemoryBytes = 64

var xmlEntities = map[string]string{"amp": "&", "lt": "<", "gt": ">", "quot": `"`, "apos": "'"}

func (p *parser) element() *element {
	p.r.spendChunkMemory(nodeMemoryBytes)
	token := p.u8()
	if !p.noDependencyID {
		p.u16() // dependency id
	}
	p.u32() // size
	e := &element{name: p.name()}
	if token&tokenMoreFlag != 0 {
		p.u32() // size of the attributes
		for p.peek()&^tokenMoreFlag == tokenAttribute {
			p.at++
			p.r.spendChunkMemory(nodeMemoryBytes)
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
	return e
}

// templateInstance reads an instance of a template, and returns the template and
// the values.
func (p *parser) templateInstance() (*element, []rawValue) {
	p.read(2) // token, unknown
	p.u32()   // template id
	offset := p.u32()
	t, known := p.r.templates[offset]
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
	p.r.spendChunkMemory(32 * n)
	values := make([]rawValue, n)
	for i := range values {
		size := int(binary.LittleEndian.Uint16(header[4*i:]))
		values[i] = rawValue{kind: header[4*i+2], data: p.read(size)}
	}
	return t, values
}

// parseTemplate parses the template at an offset of the chunk, and caches it.
func (p *parser) parseTemplate(offset uint32) *element {
	at := int(offset) + 24
	if at > len(p.r.chunk) {
		p.panicf("template offset %#x", offset)
	}
	size := int(binary.LittleEndian.Uint32(p.r.chunk[at-4:]))
	if size > len(p.r.chunk)-at {
		p.panicf("template of %d bytes", size)
	}
	in := parser{r: p.r, b: p.r.chunk[:at+size], at: at, depth: p.depth}
	e := &element{content: in.content()}
	p.r.templates[offset] = e
	return e
}
