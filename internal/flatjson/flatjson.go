// Package flatjson reads one JSON object into flat leaves: the scalars, each
// with its dotted path. It is the first thing that touches an event's bytes,
// in intake and in the worker alike, and it is strict: what it accepts is
// RFC 8259 JSON in valid UTF-8, within a depth.
//
// It allocates nothing for an event whose paths it has seen before: values
// alias the input, or an arena where they had escapes, and paths are interned.
package flatjson

import (
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	"github.com/picket-edr/picket/sigma"
)

// MaxDepth is how deep objects and arrays may nest, the outermost included.
const MaxDepth = 64

// maxPaths bounds the interned paths of a decoder; a sender that makes up
// field names without end costs time, not memory.
const maxPaths = 1 << 15

// A Path is where a leaf stands in the event. Paths are interned: within one
// decoder, equal paths are one pointer (until the decoder forgets them all,
// past a bound).
type Path struct {
	Name   string // dotted, as in "winlog.event_data.Image"
	Key    string // its last part
	Parent *Path  // nil at the top

	// Mark is or'ed into the event's marks when the path occurs, and Tag is
	// whatever the user of the decoder knows of it. Both are for OnPath to set.
	Mark uint64
	Tag  any

	children map[string]*Path
}

// A Leaf is one scalar: a member of an object or an element of an array.
type Leaf struct {
	Path    *Path
	Value   sigma.Value
	Element bool // of an array, so that other leaves of this path are no repetition of its key
}

// A Decoder decodes events, one after another. Its zero value is ready; it is
// for one goroutine.
type Decoder struct {
	// OnPath, if not nil, is called once for each new path, to set Mark and Tag.
	OnPath func(*Path)

	root  Path
	paths int
	arena []byte

	// of the event being decoded
	s     string
	at    int
	marks uint64
	dst   []Leaf
}

// A SyntaxError says where an event stops being acceptable JSON.
type SyntaxError struct {
	Offset int // bytes from the start of the event
	Reason string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.Reason, e.Offset) }

// Leaves appends the leaves of the JSON object raw to dst, in order. A repeated
// key yields its leaf again. It also returns the marks of all the paths that
// occurred, those of objects and arrays too. The values alias raw, which must
// not change while they are in use.
func (d *Decoder) Leaves(raw []byte, dst []Leaf) ([]Leaf, uint64, error) {
	if d.paths > maxPaths {
		d.root, d.paths = Path{}, 0
	}
	d.s = unsafe.String(unsafe.SliceData(raw), len(raw))
	d.at, d.marks, d.dst = 0, 0, dst
	d.space()
	err := d.object(&d.root, 1)
	if err == nil {
		if d.space(); d.at != len(d.s) {
			err = d.fail("something after the object")
		}
	}
	dst, d.dst, d.s = d.dst, nil, ""
	return dst, d.marks, err
}

// Decode appends the leaves of raw to dst as fields named by their dotted
// paths.
func (d *Decoder) Decode(raw []byte, dst []sigma.Field) ([]sigma.Field, error) {
	leaves, _, err := d.Leaves(raw, nil)
	for _, l := range leaves {
		dst = append(dst, sigma.Field{Name: l.Path.Name, Value: l.Value})
	}
	return dst, err
}

func (d *Decoder) fail(reason string) error { return &SyntaxError{Offset: d.at, Reason: reason} }

func (d *Decoder) space() {
	for d.at < len(d.s) {
		switch d.s[d.at] {
		case ' ', '\t', '\n', '\r':
			d.at++
		default:
			return
		}
	}
}

// next skips space and returns the byte there, or 0 at the end.
func (d *Decoder) next() byte {
	d.space()
	if d.at == len(d.s) {
		return 0
	}
	return d.s[d.at]
}

func (d *Decoder) object(p *Path, depth int) error {
	if d.next() != '{' {
		return d.fail("expected an object")
	}
	d.at++
	if d.next() == '}' {
		d.at++
		return nil
	}
	for {
		if d.next() != '"' {
			return d.fail("expected a key")
		}
		key, err := d.string()
		if err != nil {
			return err
		}
		if d.next() != ':' {
			return d.fail("expected a colon")
		}
		d.at++
		if err := d.value(d.child(p, key), depth, false); err != nil {
			return err
		}
		switch d.next() {
		case ',':
			d.at++
		case '}':
			d.at++
			return nil
		default:
			return d.fail("expected a comma or the end of the object")
		}
	}
}

func (d *Decoder) array(p *Path, depth int) error {
	d.at++
	if d.next() == ']' {
		d.at++
		return nil
	}
	for {
		if err := d.value(p, depth, true); err != nil {
			return err
		}
		switch d.next() {
		case ',':
			d.at++
		case ']':
			d.at++
			return nil
		default:
			return d.fail("expected a comma or the end of the array")
		}
	}
}

func (d *Decoder) value(p *Path, depth int, element bool) error {
	d.marks |= p.Mark
	switch c := d.next(); {
	case c == '"':
		s, err := d.string()
		if err != nil {
			return err
		}
		d.leaf(p, sigma.String, s, element)
	case c == '{' || c == '[':
		if depth == MaxDepth {
			return d.fail(fmt.Sprintf("nested deeper than %d", MaxDepth))
		}
		if c == '{' {
			return d.object(p, depth+1)
		}
		return d.array(p, depth+1)
	case c == '-' || '0' <= c && c <= '9':
		return d.number(p, element)
	case c == 't':
		return d.word(p, "true", sigma.Bool, element)
	case c == 'f':
		return d.word(p, "false", sigma.Bool, element)
	case c == 'n':
		return d.word(p, "null", sigma.Null, element)
	case c == 0 && d.at == len(d.s):
		return d.fail("the event ends early")
	default:
		return d.fail("expected a value")
	}
	return nil
}

func (d *Decoder) leaf(p *Path, k sigma.Kind, text string, element bool) {
	d.dst = append(d.dst, Leaf{p, sigma.Value{Kind: k, Text: text}, element})
}

func (d *Decoder) word(p *Path, w string, k sigma.Kind, element bool) error {
	if len(d.s)-d.at < len(w) || d.s[d.at:d.at+len(w)] != w {
		return d.fail("expected a value")
	}
	d.at += len(w)
	if k == sigma.Null {
		w = ""
	}
	d.leaf(p, k, w, element)
	return nil
}

func (d *Decoder) number(p *Path, element bool) error {
	start := d.at
	if d.s[d.at] == '-' {
		d.at++
	}
	switch {
	case d.at < len(d.s) && d.s[d.at] == '0':
		d.at++
	case !d.digits():
		return d.fail("malformed number")
	}
	if d.at < len(d.s) && d.s[d.at] == '.' {
		d.at++
		if !d.digits() {
			return d.fail("malformed number")
		}
	}
	if d.at < len(d.s) && d.s[d.at]|0x20 == 'e' {
		d.at++
		if d.at < len(d.s) && (d.s[d.at] == '+' || d.s[d.at] == '-') {
			d.at++
		}
		if !d.digits() {
			return d.fail("malformed number")
		}
	}
	text := d.s[start:d.at]
	if len(text) > plainNumber || strings.ContainsAny(text, "eE") {
		if _, err := strconv.ParseFloat(text, 64); err != nil {
			return d.fail("number out of range")
		}
	}
	d.leaf(p, sigma.Number, text, element)
	return nil
}

// plainNumber is how long a number without an exponent can be and still be in
// the range of a float64, beyond which readers of JSON differ.
const plainNumber = 300

func (d *Decoder) digits() bool {
	start := d.at
	for d.at < len(d.s) && '0' <= d.s[d.at] && d.s[d.at] <= '9' {
		d.at++
	}
	return d.at > start
}

// child returns the path of a member of p.
func (d *Decoder) child(p *Path, key string) *Path {
	if c, ok := p.children[key]; ok {
		return c
	}
	c := &Path{Key: string([]byte(key)), Parent: p} // a copy: key aliases the event
	c.Name = c.Key
	if p != &d.root {
		c.Name = p.Name + "." + c.Key
	} else {
		c.Parent = nil
	}
	if p.children == nil {
		p.children = make(map[string]*Path)
	}
	p.children[c.Key] = c
	d.paths++
	if d.OnPath != nil {
		d.OnPath(c)
	}
	return c
}
