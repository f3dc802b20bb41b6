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

// indexed makes a block with columns and filters.
func (b *builder) indexed(d draft) built {
	var out built
	out.note(d.evs, d.offset)
	out.indexed = true
	b.reset(len(d.evs))
	dr := dir{flags: dirIndexed}
	var rb recipeBuilder
	var text []byte
	ids := make([]string, len(d.evs))
	row := 0
	for fi, f := range d.frames {
		dr.frames = append(dr.frames, f.frameInfo)
		var flags byte
		for end := row + f.rows; row < end; row++ {
			ids[row] = d.evs[row].ID
			if b.event(&d, row, uint16(fi+1), &rb) {
				flags |= textExotic
			}
		}
		text = b.trigrams.encode(text, flags)
		if f.packed == nil {
			f.packed = encodeFrame(d.evs[row-f.rows : row])
		}
		out.parts = append(out.parts, part{partFrame + fi, f.packed})
	}
	if rb.hasLiterals() {
		dr.flags |= dirLiterals
	}
	out.parts = append(out.parts,
		part{partMeta, encodeMeta(d.evs, d.offset)},
		part{partIDs, encodeIDs(ids)},
		part{partIDFilter, encodeIDFilter(ids)},
		part{partText, text})
	if r := rb.encode(); r != nil {
		out.parts = append(out.parts, part{partRecipes, r})
	}
	out.parts = append(out.parts, b.finish(&dr, d.evs, int(out.raw))...)
	out.dir = dr.encode()
	slices.SortFunc(out.parts, func(x, y part) int { return cmp.Compare(x.no, y.no) })
	return out
}

func (b *builder) reset(n int) {
	if b.trigrams == nil {
		b.trigrams = newTrigramSet()
	}
	b.columns = make(map[string]*columnBuilder)
	for _, t := range b.paths {
		*t = pathInfo{}
	}
	b.capped, b.n = false, n
	if len(b.paths) > 1<<16 { // the decoder forgets paths past a bound; so do we
		fresh := newBuilder()
		b.dec, b.paths = fresh.dec, nil
		b.dec.OnPath = func(p *flatjson.Path) {
			t := &pathInfo{}
			p.Tag = t
			b.paths = append(b.paths, t)
		}
	}
}

func (b *builder) column(name string) *columnBuilder {
	c := b.columns[name]
	if c == nil {
		if len(b.columns) >= maxColumns {
			b.capped = true
			return nil
		}
		c = newColumnBuilder(name, b.n)
		b.columns[name] = c
	}
	return c
}

// event adds an event to the columns and to the trigrams of its frame, and
// reports whether its text is exotic.
func (b *builder) event(d *draft, row int, frame uint16, rb *recipeBuilder) bool {
	raw := d.evs[row].Raw
	odd := !b.read(raw) || d.exotic && exotic(raw)
	for i := range b.leaves {
		b.leaf(row, frame, &b.leaves[i])
	}
	if len(b.leaves) == 0 || emptyContainer(raw) { // some names are of no leaf
		b.trigrams.add(string(store.AppendEventText(nil, raw)))
	}
	r := d.recipes[row]
	if r.of[d.row[row]] == 0 {
		rb.of = append(rb.of, 0)
		return odd
	}
	fields := r.fields(nil, d.row[row], b.leaves)
	rb.add(b.leaves, fields)
	for i := range fields {
		b.field(row, &fields[i])
	}
	return odd
}

func (b *builder) leaf(row int, frame uint16, l *flatjson.Leaf) {
	t := l.Path.Tag.(*pathInfo)
	if t.seen != frame {
		for p := l.Path; p != nil; p = p.Parent {
			b.trigrams.add(p.Key)
			p.Tag.(*pathInfo).seen = frame
		}
	}
	if !t.looked {
		t.col, t.looked = b.column(l.Path.Name), true
	}
	v := store.ValueText(l.Value)
	if t.col == nil {
		b.trigrams.add(v)
		return
	}
	at := t.col.add(row, v)
	if at < 0 || t.col.seen[at] != frame {
		b.trigrams.add(v)
		if at >= 0 {
			t.col.seen[at] = frame
		}
	}
}

func (b *builder) field(row int, f *sigma.Field) {
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

func (b *builder) inLeaves(v string) bool {
	for i := range b.leaves {
		if store.ValueText(b.leaves[i].Value) == v {
			return true
		}
	}
	return false
}

// finish packs the columns and enters them into the directory.
func (b *builder) finish(d *dir, evs []picket.Event, raw int) []part {
	if b.capped {
		d.flags |= dirCapped
	}
	for name := range b.columns {
		d.names = append(d.names, name)
	}
	slices.Sort(d.names)
	d.names = slices.DeleteFunc(d.names, func(name string) bool { return b.columns[name].echoes(evs) })
	d.where = make([]place, len(d.names))
	var parts []part
	var encoded [][]byte
	for i, name := range d.names {
		c := b.columns[name]
		d.where[i].derived = c.derived
		if c.wide(raw) {
			continue
		}
		plain := c.finish(len(evs)).encode(nil)
		// A value under its path as received and under Sigma's name is kept once.
		same := slices.IndexFunc(encoded, func(e []byte) bool { return bytes.Equal(e, plain) })
		if same < 0 {
			same = len(encoded)
			encoded = append(encoded, plain)
			parts = append(parts, part{partColumn + same, pack(nil, plain)})
		}
		d.where[i].part = partColumn + same
	}
	return parts
}

// echoes reports whether the column is of one of the names of store.BuiltinField and
// says nothing but what the event's own attribute says.
func (b *columnBuilder) echoes(evs []picket.Event) bool {
	if _, ok := store.BuiltinField(&picket.Event{}, b.name); !ok || len(b.multi) > 0 || b.full {
		return false
	}
	for row, r := range b.rows {
		if own, _ := store.BuiltinField(&evs[row], b.name); r != 0 && b.values[r-1] != own {
			return false
		}
	}
	return true
}
