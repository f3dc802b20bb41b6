package sqlitestore

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma"
)

// Indexed makes a block with columns and filters.
func (b *Builder) Indexed(d MergeInput) Encoded {
	var out Encoded
	out.setHeader(d.events, d.offsets)
	out.Indexed = true
	b.reset(len(d.events))
	dr := directory{flags: flagIndexed}
	var rb layoutBuilder
	var text []byte
	ids := make([]string, len(d.events))
	row := 0
	for fi, f := range d.frames {
		dr.frames = append(dr.frames, f.frameInfo)
		var flags byte
		for end := row + f.rows; row < end; row++ {
			ids[row] = d.events[row].ID
			if b.addEvent(&d, row, uint16(fi+1), &rb) {
				flags |= filterNonCanonical
			}
		}
		text = b.trigrams.appendFilter(text, flags)
		if f.packed == nil {
			f.packed = encodeFrame(d.events[row-f.rows : row])
		}
		out.Parts = append(out.Parts, Part{partFrame + fi, f.packed})
	}
	if rb.hasLiterals() {
		dr.flags |= flagLiterals
	}
	out.Parts = append(out.Parts,
		Part{partMetadata, encodeMetadata(d.events, d.offsets)},
		Part{partIDs, encodeIDs(ids)},
		Part{partIDFilter, encodeIDFilter(ids)},
		Part{partTextFilters, text})
	if r := rb.encode(); r != nil {
		out.Parts = append(out.Parts, Part{partFieldLayouts, r})
	}
	out.Parts = append(out.Parts, b.packColumns(&dr, d.events, int(out.RawBytes))...)
	out.Directory = dr.encode()
	slices.SortFunc(out.Parts, func(x, y Part) int { return cmp.Compare(x.Number, y.Number) })
	return out
}

func (b *Builder) reset(n int) {
	if b.trigrams == nil {
		b.trigrams = newTrigramSet()
	}
	b.columns = make(map[string]*columnBuilder)
	for _, t := range b.paths {
		*t = pathData{}
	}
	b.truncated, b.events = false, n
	if len(b.paths) > 1<<16 { // the decoder forgets paths past a bound; so do we
		fresh := NewBuilder()
		b.dec, b.paths = fresh.dec, nil
		b.dec.OnPath = func(p *flatjson.Path) {
			t := &pathData{}
			p.Tag = t
			b.paths = append(b.paths, t)
		}
	}
}

func (b *Builder) column(name string) *columnBuilder {
	c := b.columns[name]
	if c == nil {
		if len(b.columns) >= maxColumns {
			b.truncated = true
			return nil
		}
		c = newColumnBuilder(name, b.events)
		b.columns[name] = c
	}
	return c
}

// addEvent adds an event to the columns and to the trigrams of its frame, and
// reports whether its text is exotic.
func (b *Builder) addEvent(d *MergeInput, row int, frame uint16, rb *layoutBuilder) bool {
	raw := d.events[row].Raw
	odd := !b.readLeaves(raw) || d.nonCanonical && nonCanonical(raw)
	for i := range b.leaves {
		b.addLeaf(row, frame, &b.leaves[i])
	}
	if len(b.leaves) == 0 || mayHaveEmptyContainer(raw) { // some names are of no leaf
		b.trigrams.add(string(store.AppendEventText(nil, raw)))
	}
	r := d.layouts[row]
	if r.layoutOf[d.rows[row]] == 0 {
		rb.layoutOf = append(rb.layoutOf, 0)
		return odd
	}
	fields := r.appendFields(nil, d.rows[row], b.leaves)
	rb.add(b.leaves, fields)
	for i := range fields {
		b.addField(row, &fields[i])
	}
	return odd
}

func (b *Builder) addLeaf(row int, frame uint16, l *flatjson.Leaf) {
	t := l.Path.Tag.(*pathData)
	if t.filteredIn != frame {
		for p := l.Path; p != nil; p = p.Parent {
			b.trigrams.add(p.Key)
			p.Tag.(*pathData).filteredIn = frame
		}
	}
	if !t.resolved {
		t.column, t.resolved = b.column(l.Path.Name), true
	}
	v := store.ValueText(l.Value)
	if t.column == nil {
		b.trigrams.add(v)
		return
	}
	at := t.column.add(row, v)
	if at < 0 || t.column.filteredIn[at] != frame {
		b.trigrams.add(v)
		if at >= 0 {
			t.column.filteredIn[at] = frame
		}
	}
}

func (b *Builder) addField(row int, f *sigma.Field) {
	c := b.column(f.Name)
	if c == nil {
		return
	}
	v := store.ValueText(f.Value)
	c.add(row, v)
	if !c.derived && !b.inLeaves(v) {
		c.derived = true
	}
}

func (b *Builder) inLeaves(v string) bool {
	for i := range b.leaves {
		if store.ValueText(b.leaves[i].Value) == v {
			return true
		}
	}
	return false
}

// packColumns packs the columns and enters them into the directory.
func (b *Builder) packColumns(d *directory, evs []picket.Event, raw int) []Part {
	if b.truncated {
		d.flags |= flagTruncated
	}
	for name := range b.columns {
		d.names = append(d.names, name)
	}
	slices.Sort(d.names)
	d.names = slices.DeleteFunc(d.names, func(name string) bool { return b.columns[name].mirrorsBuiltin(evs) })
	d.columns = make([]columnRef, len(d.names))
	var parts []Part
	var encoded [][]byte
	for i, name := range d.names {
		c := b.columns[name]
		d.columns[i].derived = c.derived
		if c.tooLarge(raw) {
			continue
		}
		plain := c.build(len(evs)).encode(nil)
		// A value under its path as received and under Sigma's name is kept once.
		same := slices.IndexFunc(encoded, func(e []byte) bool { return bytes.Equal(e, plain) })
		if same < 0 {
			same = len(encoded)
			encoded = append(encoded, plain)
			parts = append(parts, Part{partColumn + same, pack(nil, plain)})
		}
		d.columns[i].part = partColumn + same
	}
	return parts
}

// mirrorsBuiltin reports whether the column is of one of the names of store.BuiltinField and
// says nothing but what the event's own attribute says.
func (b *columnBuilder) mirrorsBuiltin(evs []picket.Event) bool {
	if _, ok := store.BuiltinField(&picket.Event{}, b.name); !ok || len(b.tuples) > 0 || b.full {
		return false
	}
	for row, r := range b.rows {
		if own, _ := store.BuiltinField(&evs[row], b.name); r != 0 && b.values[r-1] != own {
			return false
		}
	}
	return true
}
