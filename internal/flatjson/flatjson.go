// Package flatjson decodes one JSON object into flat leaves: its scalars, each with
// its dotted path. The intake and the workers decode every event with it. It is
// strict: it accepts only RFC 8259 JSON in valid UTF-8, within limits that bound what
// an event costs.
//
// It does not allocate for an event whose paths it has seen before: paths are
// interned, and values alias the input or, if they contain escapes, an arena.
package flatjson

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/picket-edr/picket/sigma"
)

// Limits of an event. They bound its cost by a small multiple of its length:
// without them, one long name with thousands of members is thousands of long paths.
const (
	MaxDepth         = 64      // nested objects and arrays, including the outermost
	MaxLeaves        = 1 << 16 // scalars
	MaxPathBytes     = 4 << 10 // bytes of a dotted path
	MaxPathsPerEvent = 1 << 13 // distinct paths
	// The distinct paths together may take basePathBytesLimit, and
	// pathBytesPerEventByte times the bytes of the event.
	basePathBytesLimit    = 64 << 10
	pathBytesPerEventByte = 4
)

// What a decoder keeps interned for the next event. Past that it drops all paths,
// so that senders of many field names cost time and not memory.
const (
	maxInternedPaths          = 1 << 14
	maxTotalInternedNameBytes = 2 << 20 // of their names
)

// maxReusedItems is how many items a slice may have room for to be reused.
const maxReusedItems = 1 << 10

// ClearForReuse returns an empty slice with the memory of s, without the values in it:
// these alias events, each of which would keep all of its batch in memory. It returns
// nil for a very long slice.
func ClearForReuse[T any](s []T) []T {
	if cap(s) > maxReusedItems {
		return nil
	}
	clear(s[:cap(s)])
	return s[:0]
}

// A Path is the position of a leaf in the event. Paths are interned: within one
// decoder equal paths are the same pointer, until the decoder drops all of them
// past a bound.
type Path struct {
	Name   string // dotted, as in "winlog.event_data.Image"
	Key    string // its last part
	Parent *Path  // nil at the top

	// Bits are or'ed into the result of Leaves if the path occurs. Data is for the
	// user of the decoder. OnPath sets both.
	Bits uint64
	Data any

	children map[string]*Path
	event    uint32 // Decoder.event of the last event that has it
}

// A Leaf is one scalar: a member of an object or an element of an array.
type Leaf struct {
	Path    *Path
	Value   sigma.Value
	Element bool // of an array; further leaves with this path are not repetitions of a key
}

// A Decoder decodes events. Its zero value is ready to use. It is for one
// goroutine.
type Decoder struct {
	// OnPath, if not nil, is called once for each new path, to set Bits and Data.
	OnPath func(*Path)

	root          Path
	interned      int // paths
	internedBytes int // of their names
	arena         []byte

	// of the event being decoded
	event     uint32 // its number, to count each path once
	s         string
	at        int
	pathBits  uint64
	dst       []Leaf
	most      int // len(dst) at which the event has MaxLeaves
	paths     int // distinct
	pathBytes int // of their names
}

// A SyntaxError is where an event stops being acceptable JSON.
type SyntaxError struct {
	Offset int // bytes from the start of the event
	Reason string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.Reason, e.Offset) }

// Leaves appends the leaves of the JSON object raw to dst, in order. A repeated key
// yields a leaf each time. It also returns the bits of all paths that occur,
// including those of objects and arrays. The values alias raw, which must not
// change while they are in use.
func (d *Decoder) Leaves(raw []byte, dst []Leaf) (leaves []Leaf, pathBits uint64, err error) {
	if d.event++; d.interned > maxInternedPaths || d.internedBytes > maxTotalInternedNameBytes || d.event == 0 {
		d.root, d.interned, d.internedBytes, d.event = Path{}, 0, 0, 1
	}
	d.most, d.paths, d.pathBytes = len(dst)+MaxLeaves, 0, 0
	d.s = unsafe.String(unsafe.SliceData(raw), len(raw))
	d.at, d.pathBits, d.dst = 0, 0, dst
	d.skipSpace()
	err = d.object(&d.root, 1)
	if err == nil {
		if d.skipSpace(); d.at != len(d.s) {
			err = d.fail("something after the object")
		}
	}
	dst, d.dst, d.s = d.dst, nil, ""
	return dst, d.pathBits, err
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

func (d *Decoder) skipSpace() {
	for d.at < len(d.s) {
		switch d.s[d.at] {
		case ' ', '\t', '\n', '\r':
			d.at++
		default:
			return
		}
	}
}

// peekNonSpace skips space and returns the byte there, or 0 at the end.
func (d *Decoder) peekNonSpace() byte {
	d.skipSpace()
	if d.at == len(d.s) {
		return 0
	}
	return d.s[d.at]
}

func (d *Decoder) object(p *Path, depth int) error {
	if d.peekNonSpace() != '{' {
		return d.fail("expected an object")
	}
	d.at++
	if d.peekNonSpace() == '}' {
		d.at++
		return nil
	}
	for {
		if d.peekNonSpace() != '"' {
			return d.fail("expected a key")
		}
		key, err := d.string()
		if err != nil {
			return err
		}
		if d.peekNonSpace() != ':' {
			return d.fail("expected a colon")
		}
		d.at++
		c, ok := p.children[key]
		if !ok {
			if c, err = d.internMember(p, key); err != nil {
				return err
			}
		}
		if c.event != d.event {
			if err := d.countEventPath(c); err != nil {
				return err
			}
		}
		if err := d.value(c, depth, false); err != nil {
			return err
		}
		switch d.peekNonSpace() {
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
	if d.peekNonSpace() == ']' {
		d.at++
		return nil
	}
	for {
		if err := d.value(p, depth, true); err != nil {
			return err
		}
		switch d.peekNonSpace() {
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

func (d *Decoder) value(p *Path, depth int, inArray bool) error {
	d.pathBits |= p.Bits
	if len(d.dst) == d.most {
		return d.fail(fmt.Sprintf("more than %d values", MaxLeaves))
	}
	switch c := d.peekNonSpace(); {
	case c == '"':
		s, err := d.string()
		if err != nil {
			return err
		}
		d.appendLeaf(p, sigma.String, s, inArray)
	case c == '{' || c == '[':
		if depth == MaxDepth {
			return d.fail(fmt.Sprintf("nested deeper than %d", MaxDepth))
		}
		if c == '{' {
			return d.object(p, depth+1)
		}
		return d.array(p, depth+1)
	case c == '-' || '0' <= c && c <= '9':
		return d.number(p, inArray)
	case c == 't':
		return d.keyword(p, "true", sigma.Bool, inArray)
	case c == 'f':
		return d.keyword(p, "false", sigma.Bool, inArray)
	case c == 'n':
		return d.keyword(p, "null", sigma.Null, inArray)
	case c == 0 && d.at == len(d.s):
		return d.fail("the event ends early")
	default:
		return d.fail("expected a value")
	}
	return nil
}

func (d *Decoder) appendLeaf(p *Path, k sigma.Kind, text string, inArray bool) {
	if len(d.dst) == cap(d.dst) { // append grows long slices by a quarter only
		d.dst = slices.Grow(d.dst, max(len(d.dst), 16))
	}
	d.dst = append(d.dst, Leaf{p, sigma.Value{Kind: k, Text: text}, inArray})
}

func (d *Decoder) keyword(p *Path, keyword string, k sigma.Kind, inArray bool) error {
	if len(d.s)-d.at < len(keyword) || d.s[d.at:d.at+len(keyword)] != keyword {
		return d.fail("expected a value")
	}
	d.at += len(keyword)
	if k == sigma.Null {
		keyword = ""
	}
	d.appendLeaf(p, k, keyword, inArray)
	return nil
}

func (d *Decoder) number(p *Path, inArray bool) error {
	start := d.at
	if d.s[d.at] == '-' {
		d.at++
	}
	switch {
	case d.at < len(d.s) && d.s[d.at] == '0':
		d.at++
	case !d.skipDigits():
		return d.fail("malformed number")
	}
	if d.at < len(d.s) && d.s[d.at] == '.' {
		d.at++
		if !d.skipDigits() {
			return d.fail("malformed number")
		}
	}
	if d.at < len(d.s) && d.s[d.at]|0x20 == 'e' {
		d.at++
		if d.at < len(d.s) && (d.s[d.at] == '+' || d.s[d.at] == '-') {
			d.at++
		}
		if !d.skipDigits() {
			return d.fail("malformed number")
		}
	}
	text := d.s[start:d.at]
	if len(text) > maxUncheckedNumberBytes || strings.ContainsAny(text, "eE") {
		if _, err := strconv.ParseFloat(text, 64); err != nil {
			return d.fail("number out of range")
		}
	}
	d.appendLeaf(p, sigma.Number, text, inArray)
	return nil
}

// maxUncheckedNumberBytes is the length up to which a number without exponent is
// certainly in the range of a float64, beyond which JSON parsers differ.
const maxUncheckedNumberBytes = 300

func (d *Decoder) skipDigits() (found bool) {
	start := d.at
	for d.at < len(d.s) && '0' <= d.s[d.at] && d.s[d.at] <= '9' {
		d.at++
	}
	return d.at > start
}

// internMember adds the path of a member of parent.
func (d *Decoder) internMember(parent *Path, key string) (*Path, error) {
	size := len(key)
	if parent != &d.root {
		size += len(parent.Name) + 1
	}
	if size > MaxPathBytes {
		return nil, d.fail(fmt.Sprintf("the path of a value is longer than %d bytes", MaxPathBytes))
	}
	var c *Path
	if parent == &d.root {
		name := strings.Clone(key) // key aliases the event
		c = &Path{Name: name, Key: name}
	} else {
		name := parent.Name + "." + key
		c = &Path{Name: name, Key: name[len(parent.Name)+1:], Parent: parent}
	}
	if parent.children == nil {
		parent.children = make(map[string]*Path)
	}
	parent.children[c.Key] = c
	d.interned++
	d.internedBytes += size
	if d.OnPath != nil {
		d.OnPath(c)
	}
	return c, nil
}

// countEventPath counts a path that the event has not had before. The result does not
// depend on what is interned.
func (d *Decoder) countEventPath(p *Path) error {
	p.event = d.event
	if d.paths++; d.paths > MaxPathsPerEvent {
		return d.fail(fmt.Sprintf("more than %d distinct paths", MaxPathsPerEvent))
	}
	if d.pathBytes += len(p.Name); d.pathBytes > basePathBytesLimit+pathBytesPerEventByte*len(d.s) {
		return d.fail(fmt.Sprintf("the paths of its values take more than %d bytes", basePathBytesLimit+pathBytesPerEventByte*len(d.s)))
	}
	return nil
}
