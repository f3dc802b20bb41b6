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
type recipes struct {
	names    []string
	list     [][]ingredient
	of       []int // an event's recipe + 1
	literals [][]sigma.Value
}

type ingredient struct{ name, leaf int }

// A recipeBuilder collects the recipes of a block.
type recipeBuilder struct {
	names    map[string]int
	list     []string
	known    map[string]int
	bodies   [][]byte
	of       []int
	kinds    []byte
	literals []byte
	body     []byte
	used     bool
}

// add notes the fields of the next event, whose leaves are given.
func (b *recipeBuilder) add(leaves []flatjson.Leaf, fields []sigma.Field) {
	if sameAsLeaves(leaves, fields) {
		b.of = append(b.of, 0)
		return
	}
	if !b.used {
		b.used = true
		b.names, b.known = make(map[string]int), make(map[string]int)
	}
	body := binary.AppendUvarint(b.body[:0], uint64(len(fields)))
	at := 0
	for i := range fields {
		f := &fields[i]
		name, ok := b.names[f.Name]
		if !ok {
			name = len(b.list)
			b.names[f.Name] = name
			b.list = append(b.list, f.Name)
		}
		body = binary.AppendUvarint(body, uint64(name))
		leaf := findLeaf(leaves, at, f.Value)
		body = binary.AppendUvarint(body, uint64(leaf+1))
		if leaf < 0 {
			b.kinds = append(b.kinds, byte(f.Value.Kind))
			b.kinds = binary.AppendUvarint(b.kinds, uint64(len(f.Value.Text)))
			b.literals = append(b.literals, f.Value.Text...)
			continue
		}
		at = leaf + 1
	}
	b.body = body
	n, ok := b.known[string(body)]
	if !ok {
		n = len(b.bodies)
		b.known[string(body)] = n
		b.bodies = append(b.bodies, append([]byte(nil), body...))
	}
	b.of = append(b.of, n+1)
}

func sameAsLeaves(leaves []flatjson.Leaf, fields []sigma.Field) bool {
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
func (b *recipeBuilder) encode() []byte {
	if !b.used {
		return nil
	}
	out := binary.AppendUvarint(nil, uint64(len(b.list)))
	out = appendStrings(out, b.list)
	out = binary.AppendUvarint(out, uint64(len(b.bodies)))
	for _, body := range b.bodies {
		out = append(out, body...)
	}
	for _, r := range b.of {
		out = binary.AppendUvarint(out, uint64(r))
	}
	out = append(out, b.kinds...)
	out = append(out, b.literals...)
	return pack(nil, out)
}

// hasLiterals reports whether some value is no leaf.
func (b *recipeBuilder) hasLiterals() bool { return len(b.kinds) > 0 }

// decodeRecipes reads the part of a block of n events; b may be nil.
func decodeRecipes(b []byte, n int) (*recipes, error) {
	r := &recipes{of: make([]int, n)}
	if b == nil {
		return r, nil
	}
	plain, err := unpack(nil, b)
	if err != nil {
		return nil, fmt.Errorf("read fields: %w", err)
	}
	c := cursor{b: plain}
	r.names = c.strings(c.count())
	r.list = make([][]ingredient, c.count())
	for i := range r.list {
		r.list[i] = make([]ingredient, c.count())
		for k := range r.list[i] {
			in := ingredient{name: int(c.uvarint()), leaf: int(c.uvarint()) - 1}
			if in.name < 0 || in.name >= len(r.names) {
				return nil, errCorrupt
			}
			r.list[i][k] = in
		}
	}
	for i := range r.of {
		r.of[i] = int(c.uvarint())
		if r.of[i] < 0 || r.of[i] > len(r.list) {
			return nil, errCorrupt
		}
	}
	if c.err != nil {
		return nil, c.err
	}
	return r, r.readLiterals(&c)
}

func (r *recipes) readLiterals(c *cursor) error {
	var all []*sigma.Value
	var lens []int
	r.literals = make([][]sigma.Value, len(r.of))
	for i, of := range r.of {
		if of == 0 {
			continue
		}
		n := 0
		for _, in := range r.list[of-1] {
			if in.leaf < 0 {
				n++
			}
		}
		if n > len(c.b) {
			return errCorrupt
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

// fields appends the fields of an event, given its leaves.
func (r *recipes) fields(dst []sigma.Field, row int, leaves []flatjson.Leaf) []sigma.Field {
	if r.of[row] == 0 {
		for _, l := range leaves {
			dst = append(dst, sigma.Field{Name: l.Path.Name, Value: l.Value})
		}
		return dst
	}
	literals := r.literals[row]
	for _, in := range r.list[r.of[row]-1] {
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
