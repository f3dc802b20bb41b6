package block

import (
	"encoding/binary"
	"fmt"

	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/sigma"
)

// readFieldLayouts say how the Fields of events follow from the leaves of their
// JSON. A layout is a list of field names, each with the leaf that has its
// value. Events of one kind share a layout, so most values take no space at all;
// a value that is not a leaf is kept as a derived value. Packed, they are:
//
//	number of names, their lengths, their bytes
//	number of layouts; each: number of fields; each: name, leaf + 1 or 0 (derived)
//	for each event: layout + 1, or 0 if its fields are its leaves
//	for each derived value, in order: kind, length
//	the bytes of the derived values
type fieldLayouts struct {
	names         []string
	layouts       [][]fieldRef
	layoutOf      []int // the layout of each event + 1
	derivedValues [][]sigma.Value
}

// A fieldRef is one field of a layout; leaf is -1 for a derived value.
type fieldRef struct{ name, leaf int }

// A layoutBuilder collects the layouts of a block.
type layoutBuilder struct {
	nameIndex      map[string]int
	names          []string
	layoutIndex    map[string]int
	layouts        [][]byte
	layoutOf       []int
	derivedHeaders []byte
	derivedText    []byte
	buf            []byte
	index          flatjson.LeafIndex
	used           bool // some event needs a layout
}

// add records the fields of the next event, which has the given leaves.
func (b *layoutBuilder) add(leaves []flatjson.Leaf, fields []sigma.Field) {
	if equalsLeaves(leaves, fields) {
		b.addLeavesOnly()
		return
	}
	if !b.used {
		b.used = true
		b.nameIndex, b.layoutIndex = make(map[string]int), make(map[string]int)
	}
	b.index.Reset(leaves)
	layout := binary.AppendUvarint(b.buf[:0], uint64(len(fields)))
	at := 0
	for i := range fields {
		f := &fields[i]
		name, ok := b.nameIndex[f.Name]
		if !ok {
			name = len(b.names)
			b.nameIndex[f.Name] = name
			b.names = append(b.names, f.Name)
		}
		layout = binary.AppendUvarint(layout, uint64(name))
		leaf := b.index.FindWrapping(at, f.Value) // fields are mostly in the order of the leaves
		layout = binary.AppendUvarint(layout, uint64(leaf+1))
		if leaf < 0 {
			b.derivedHeaders = append(b.derivedHeaders, byte(f.Value.Kind))
			b.derivedHeaders = binary.AppendUvarint(b.derivedHeaders, uint64(len(f.Value.Text)))
			b.derivedText = append(b.derivedText, f.Value.Text...)
			continue
		}
		at = leaf + 1
	}
	b.buf = layout
	n, ok := b.layoutIndex[string(layout)]
	if !ok {
		n = len(b.layouts)
		b.layoutIndex[string(layout)] = n
		b.layouts = append(b.layouts, append([]byte(nil), layout...))
	}
	b.layoutOf = append(b.layoutOf, n+1)
}

// addLeavesOnly records that the fields of the next event are its leaves.
func (b *layoutBuilder) addLeavesOnly() { b.layoutOf = append(b.layoutOf, 0) }

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

// encode returns the part, nil if the fields of every event are its leaves.
func (b *layoutBuilder) encode() []byte {
	if !b.used {
		return nil
	}
	out := binary.AppendUvarint(nil, uint64(len(b.names)))
	out = appendLengthsAndBytes(out, b.names)
	out = binary.AppendUvarint(out, uint64(len(b.layouts)))
	for _, layout := range b.layouts {
		out = append(out, layout...)
	}
	for _, r := range b.layoutOf {
		out = binary.AppendUvarint(out, uint64(r))
	}
	out = append(out, b.derivedHeaders...)
	out = append(out, b.derivedText...)
	return compressOrCopy(nil, out)
}

func (b *layoutBuilder) hasDerivedValues() bool { return len(b.derivedHeaders) > 0 }

// decodeFieldLayouts reads the part of a block of n events; b is nil if the
// block has none.
func decodeFieldLayouts(b []byte, n int) (*fieldLayouts, error) {
	l := &fieldLayouts{layoutOf: make([]int, n)}
	if b == nil {
		return l, nil
	}
	plain, err := decompressPacked(nil, b)
	if err != nil {
		return nil, fmt.Errorf("read fields: %w", err)
	}
	r := byteReader{b: plain}
	l.names = r.readStrings(r.readCount())
	l.layouts = make([][]fieldRef, r.readCount())
	for i := range l.layouts {
		l.layouts[i] = make([]fieldRef, r.readCount())
		for k := range l.layouts[i] {
			ref := fieldRef{name: int(r.readUvarint()), leaf: int(r.readUvarint()) - 1}
			if ref.name < 0 || ref.name >= len(l.names) {
				return nil, ErrCorrupt
			}
			l.layouts[i][k] = ref
		}
	}
	for i := range l.layoutOf {
		l.layoutOf[i] = int(r.readUvarint())
		if l.layoutOf[i] < 0 || l.layoutOf[i] > len(l.layouts) {
			return nil, ErrCorrupt
		}
	}
	if r.err != nil {
		return nil, r.err
	}
	return l, l.readDerivedValues(&r)
}

func (l *fieldLayouts) readDerivedValues(r *byteReader) error {
	var all []*sigma.Value
	var lengths []int
	l.derivedValues = make([][]sigma.Value, len(l.layoutOf))
	for i, layout := range l.layoutOf {
		if layout == 0 {
			continue
		}
		n := 0
		for _, ref := range l.layouts[layout-1] {
			if ref.leaf < 0 {
				n++
			}
		}
		if n > len(r.b) {
			return ErrCorrupt
		}
		l.derivedValues[i] = make([]sigma.Value, n)
		for k := range l.derivedValues[i] {
			v := &l.derivedValues[i][k]
			v.Kind = sigma.Kind(r.readByte())
			all, lengths = append(all, v), append(lengths, int(r.readUvarint()))
		}
	}
	text := string(r.b) // one copy, that they share
	for i, v := range all {
		if lengths[i] < 0 || lengths[i] > len(text) {
			return ErrCorrupt
		}
		v.Text, text = text[:lengths[i]], text[lengths[i]:]
	}
	return r.err
}

// hasLeavesOnly reports whether the fields of an event are its leaves.
func (l *fieldLayouts) hasLeavesOnly(row int) bool { return l.layoutOf[row] == 0 }

// appendFields appends the fields of an event, which has the given leaves.
func (l *fieldLayouts) appendFields(dst []sigma.Field, row int, leaves []flatjson.Leaf) []sigma.Field {
	if l.hasLeavesOnly(row) {
		for _, leaf := range leaves {
			dst = append(dst, sigma.Field{Name: leaf.Path.Name, Value: leaf.Value})
		}
		return dst
	}
	derived := l.derivedValues[row]
	for _, ref := range l.layouts[l.layoutOf[row]-1] {
		f := sigma.Field{Name: l.names[ref.name]}
		switch {
		case ref.leaf < 0:
			f.Value, derived = derived[0], derived[1:]
		case ref.leaf < len(leaves):
			f.Value = leaves[ref.leaf].Value
		}
		dst = append(dst, f)
	}
	return dst
}
