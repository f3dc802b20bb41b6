package sqlitestore

import (
	"encoding/binary"
	"fmt"

	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/sigma"
)

// A block keeps its events' Fields as recipes over the leaves of their bytes:
// this name, that leaf. Events of one kind share a recipe, and most values cost
// nothing. A value that is no leaf is kept as a literal.
//
//	number of names, their lengths, their bytes
//	number of recipes; each: number of fields; each: name, leaf + 1 or 0 (literal)
//	for each event: recipe + 1, or 0 where its fields are its leaves
//	for each literal, in order: kind, length
//	the bytes of the literals
type fieldLayouts struct {
	names    []string
	layouts  [][]fieldRef
	layoutOf []int // an event's recipe + 1
	literals [][]sigma.Value
}

type fieldRef struct{ name, leaf int }

// A layoutBuilder collects the recipes of a block.
type layoutBuilder struct {
	nameIndex      map[string]int
	names          []string
	layoutIndex    map[string]int
	layouts        [][]byte
	layoutOf       []int
	literalHeaders []byte
	literalText    []byte
	buf            []byte
	used           bool
}

// add notes the fields of the next event, whose leaves are given.
func (b *layoutBuilder) add(leaves []flatjson.Leaf, fields []sigma.Field) {
	if equalsLeaves(leaves, fields) {
		b.layoutOf = append(b.layoutOf, 0)
		return
	}
	if !b.used {
		b.used = true
		b.nameIndex, b.layoutIndex = make(map[string]int), make(map[string]int)
	}
	body := binary.AppendUvarint(b.buf[:0], uint64(len(fields)))
	at := 0
	for i := range fields {
		f := &fields[i]
		name, ok := b.nameIndex[f.Name]
		if !ok {
			name = len(b.names)
			b.nameIndex[f.Name] = name
			b.names = append(b.names, f.Name)
		}
		body = binary.AppendUvarint(body, uint64(name))
		leaf := findLeaf(leaves, at, f.Value)
		body = binary.AppendUvarint(body, uint64(leaf+1))
		if leaf < 0 {
			b.literalHeaders = append(b.literalHeaders, byte(f.Value.Kind))
			b.literalHeaders = binary.AppendUvarint(b.literalHeaders, uint64(len(f.Value.Text)))
			b.literalText = append(b.literalText, f.Value.Text...)
			continue
		}
		at = leaf + 1
	}
	b.buf = body
	n, ok := b.layoutIndex[string(body)]
	if !ok {
		n = len(b.layouts)
		b.layoutIndex[string(body)] = n
		b.layouts = append(b.layouts, append([]byte(nil), body...))
	}
	b.layoutOf = append(b.layoutOf, n+1)
}

func equalsLeaves(leaves []flatjson.Leaf, fields []sigma.Field) bool {
	if len(leaves) != len(fields) {
		return false
	}
	for i := range fields {
		if fields[i].Name != leaves[i].Path.Name || fields[i].Value != leaves[i].Value {
			return false
		}
	}
	return true
}

// findLeaf looks for v from at on, then before it: fields mostly come in the
// order of the leaves.
func findLeaf(leaves []flatjson.Leaf, at int, v sigma.Value) int {
	for i := at; i < len(leaves); i++ {
		if leaves[i].Value == v {
			return i
		}
	}
	for i := range min(at, len(leaves)) {
		if leaves[i].Value == v {
			return i
		}
	}
	return -1
}

// encode returns the part, nil where every event's fields are its leaves.
func (b *layoutBuilder) encode() []byte {
	if !b.used {
		return nil
	}
	out := binary.AppendUvarint(nil, uint64(len(b.names)))
	out = appendStrings(out, b.names)
	out = binary.AppendUvarint(out, uint64(len(b.layouts)))
	for _, body := range b.layouts {
		out = append(out, body...)
	}
	for _, r := range b.layoutOf {
		out = binary.AppendUvarint(out, uint64(r))
	}
	out = append(out, b.literalHeaders...)
	out = append(out, b.literalText...)
	return pack(nil, out)
}

// hasLiterals reports whether some value is no leaf.
func (b *layoutBuilder) hasLiterals() bool { return len(b.literalHeaders) > 0 }

// decodeFieldLayouts reads the part of a block of n events; b may be nil.
func decodeFieldLayouts(b []byte, n int) (*fieldLayouts, error) {
	r := &fieldLayouts{layoutOf: make([]int, n)}
	if b == nil {
		return r, nil
	}
	plain, err := unpack(nil, b)
	if err != nil {
		return nil, fmt.Errorf("read fields: %w", err)
	}
	c := byteReader{b: plain}
	r.names = c.strings(c.count())
	r.layouts = make([][]fieldRef, c.count())
	for i := range r.layouts {
		r.layouts[i] = make([]fieldRef, c.count())
		for k := range r.layouts[i] {
			in := fieldRef{name: int(c.uvarint()), leaf: int(c.uvarint()) - 1}
			if in.name < 0 || in.name >= len(r.names) {
				return nil, ErrCorrupt
			}
			r.layouts[i][k] = in
		}
	}
	for i := range r.layoutOf {
		r.layoutOf[i] = int(c.uvarint())
		if r.layoutOf[i] < 0 || r.layoutOf[i] > len(r.layouts) {
			return nil, ErrCorrupt
		}
	}
	if c.err != nil {
		return nil, c.err
	}
	return r, r.readLiterals(&c)
}

func (r *fieldLayouts) readLiterals(c *byteReader) error {
	var all []*sigma.Value
	var lens []int
	r.literals = make([][]sigma.Value, len(r.layoutOf))
	for i, of := range r.layoutOf {
		if of == 0 {
			continue
		}
		n := 0
		for _, in := range r.layouts[of-1] {
			if in.leaf < 0 {
				n++
			}
		}
		if n > len(c.b) {
			return ErrCorrupt
		}
		r.literals[i] = make([]sigma.Value, n)
		for k := range r.literals[i] {
			v := &r.literals[i][k]
			v.Kind = sigma.Kind(c.byte())
			all, lens = append(all, v), append(lens, int(c.uvarint()))
		}
	}
	for i, v := range all {
		v.Text = string(c.bytes(lens[i]))
	}
	return c.err
}

// appendFields appends the fields of an event, given its leaves.
func (r *fieldLayouts) appendFields(dst []sigma.Field, row int, leaves []flatjson.Leaf) []sigma.Field {
	if r.layoutOf[row] == 0 {
		for _, l := range leaves {
			dst = append(dst, sigma.Field{Name: l.Path.Name, Value: l.Value})
		}
		return dst
	}
	literals := r.literals[row]
	for _, in := range r.layouts[r.layoutOf[row]-1] {
		f := sigma.Field{Name: r.names[in.name]}
		switch {
		case in.leaf < 0:
			f.Value, literals = literals[0], literals[1:]
		case in.leaf < len(leaves):
			f.Value = leaves[in.leaf].Value
		}
		dst = append(dst, f)
	}
	return dst
}
