package block

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma"
)

// maxRememberedPaths bounds what the encoder remembers of paths, as the decoder does.
const maxRememberedPaths = 1 << 16

// EncodeIndexed makes one block with columns and filters of fresh blocks.
func (b *Encoder) EncodeIndexed(in *MergeInput) Encoded {
	defer b.dropEventReferences()
	in.joinSmallFrames()
	out := Encoded{Header: newHeader(in.events, in.offsets)}
	out.Indexed = true
	b.startBlock(len(in.events))
	d := directory{flags: flagIndexed}
	var layouts layoutBuilder
	var filters []byte
	ids := make([]string, len(in.events))
	row := 0
	for i, f := range in.frames {
		d.frames = append(d.frames, f.frameSize)
		var flags byte
		for end := row + f.rows; row < end; row++ {
			ids[row] = in.events[row].ID
			if !b.addEvent(in, row, uint16(i+1), &layouts) {
				flags |= filterNotByteSearchable
			}
		}
		filters = b.trigrams.appendFilter(filters, flags)
		if f.packed == nil {
			f.packed = encodeFrame(in.events[row-f.rows : row])
		}
		out.Parts = append(out.Parts, Part{partFirstFrame + i, f.packed})
	}
	if layouts.hasDerivedValues() {
		d.flags |= flagDerivedValues
	}
	packed, flags := encodeMetadata(in.events, in.offsets)
	d.flags |= flags
	out.Parts = append(out.Parts,
		Part{partMetadata, packed},
		Part{partIDs, encodeIDs(ids)},
		Part{partIDFilter, encodeIDFilter(ids)},
		Part{partTextFilters, filters})
	if part := layouts.encode(); part != nil {
		d.flags |= flagFieldLayouts
		out.Parts = append(out.Parts, Part{partFieldLayouts, part})
	}
	out.Parts = append(out.Parts, b.packColumns(&d, in.events, int(out.RawBytes))...)
	out.Directory = d.encode()
	slices.SortFunc(out.Parts, func(x, y Part) int { return cmp.Compare(x.Number, y.Number) })
	return out
}

func (b *Encoder) startBlock(events int) {
	if b.trigrams == nil {
		b.trigrams = newTrigramSet()
	}
	b.columns = make(map[string]*columnBuilder)
	b.fieldsOmitted, b.events = false, events
	if len(b.paths) > maxRememberedPaths {
		b.resetPaths()
	}
}

// column returns the column of a field, nil if the block has as many columns as
// it can have.
func (b *Encoder) column(name string) *columnBuilder {
	c := b.columns[name]
	if c == nil {
		if len(b.columns) >= maxColumns {
			b.fieldsOmitted = true
			return nil
		}
		c = newColumnBuilder(name, b.events)
		b.columns[name] = c
	}
	return c
}

// addEvent adds an event to the columns and to the trigrams of its frame, and
// reports whether its JSON is byte-searchable.
func (b *Encoder) addEvent(in *MergeInput, row int, frame uint16, out *layoutBuilder) (byteSearchable bool) {
	raw := in.events[row].Raw
	byteSearchable = b.decodeLeaves(raw) && (!in.notByteSearchable || isByteSearchable(raw))
	for i := range b.leaves {
		b.addLeaf(row, frame, &b.leaves[i])
	}
	if len(b.leaves) == 0 || mayHaveEmptyContainer(raw) { // not every name is in the path of a leaf
		b.trigrams.add(string(store.AppendEventText(nil, raw)))
	}
	layouts, layoutRow := in.layouts[row], in.layoutRows[row]
	if layouts.hasLeavesOnly(layoutRow) {
		out.addLeavesOnly()
		return byteSearchable
	}
	fields := layouts.appendFields(nil, layoutRow, b.leaves)
	out.add(b.leaves, fields)
	b.index.Reset(b.leaves)
	for i := range fields {
		b.addField(row, &fields[i])
	}
	return byteSearchable
}

func (b *Encoder) addLeaf(row int, frame uint16, l *flatjson.Leaf) {
	t := l.Path.Data.(*pathData)
	if t.filteredIn != frame {
		for p := l.Path; p != nil; p = p.Parent {
			b.trigrams.add(p.Key)
			p.Data.(*pathData).filteredIn = frame
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
	at := t.column.indexOrAdd(row, v)
	if at < 0 || t.column.filteredIn[at] != frame {
		b.trigrams.add(v)
		if at >= 0 {
			t.column.filteredIn[at] = frame
		}
	}
}

func (b *Encoder) addField(row int, f *sigma.Field) {
	c := b.column(f.Name)
	if c == nil {
		return
	}
	v := store.ValueText(f.Value)
	c.indexOrAdd(row, v)
	if !c.derived && !b.isLeafValue(f.Value) {
		c.derived = true
	}
}

// isLeafValue reports whether v is the text of a value of the event's JSON. The index
// is that of b.leaves.
func (b *Encoder) isLeafValue(v sigma.Value) bool {
	if b.index.FindWrapping(0, v) >= 0 {
		return true
	}
	text := store.ValueText(v)
	for kind := sigma.Null; kind <= sigma.Bool; kind++ { // of another kind
		w := sigma.Value{Kind: kind, Text: text}
		if kind == sigma.Null {
			if text != "null" {
				continue
			}
			w.Text = ""
		}
		if b.index.FindWrapping(0, w) >= 0 {
			return true
		}
	}
	return false
}

// packColumns returns the parts of the columns and enters them into the
// directory.
func (b *Encoder) packColumns(d *directory, evs []picket.Event, rawBytes int) []Part {
	if b.fieldsOmitted {
		d.flags |= flagFieldsOmitted
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
		if c.isTooCostly(rawBytes) {
			continue
		}
		plain := c.build(len(evs)).encode(nil)
		// A value that is under its path and under Sigma's name is kept once.
		same := slices.IndexFunc(encoded, func(e []byte) bool { return bytes.Equal(e, plain) })
		if same < 0 {
			same = len(encoded)
			encoded = append(encoded, plain)
			parts = append(parts, Part{partFirstColumn + same, compressOrCopy(nil, plain)})
		}
		d.columns[i].part = partFirstColumn + same
	}
	return parts
}
