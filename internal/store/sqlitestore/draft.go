package sqlitestore

import (
	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/flatjson"
)

// A draft is what an indexed block is made of: the events of fresh blocks,
// without Fields, and what those blocks had made of them.
type draft struct {
	evs     []picket.Event
	offset  []int64
	recipes []*recipes // of each event's block
	row     []int      // in that
	exotic  bool       // some event may be
	frames  []draftFrame
}

// A draftFrame is a frame; packed is nil where it has yet to be made.
type draftFrame struct {
	frameInfo
	packed []byte
}

// loadDraft reads fresh blocks whole.
func loadDraft(blocks []*block) (draft, error) {
	var d draft
	gaps := false
	for _, b := range blocks {
		if err := d.load(b); err != nil {
			return d, b.fail(err)
		}
		gaps = gaps || b.span != int64(b.n)
	}
	first := d.offset[0]
	for i := range d.offset {
		d.offset[i] -= first
	}
	if !gaps {
		d.offset = nil
	}
	return d, nil
}

func (d *draft) load(b *block) error {
	dr, err := b.dir()
	if err != nil {
		return err
	}
	m, err := b.meta()
	if err != nil {
		return err
	}
	ids, err := b.ids()
	if err != nil {
		return err
	}
	rec, err := b.recipes()
	if err != nil {
		return err
	}
	d.exotic = d.exotic || dr.flags&dirExotic != 0
	row := 0
	for i, f := range dr.frames {
		packed, err := b.read(partFrame + i)
		if err != nil {
			return err
		}
		var fr frame
		if err := fr.decode(packed, f.rows); err != nil {
			return err
		}
		for k := range f.rows {
			d.evs = append(d.evs, picket.Event{ID: ids.at(row), AgentID: m.agent.text(row), Host: m.host.text(row), Type: m.typ.text(row), OS: m.os.text(row),
				Time: fromMicros(m.time[row]), Received: fromMicros(m.received[row]), Raw: fr.raw(k)})
			d.offset = append(d.offset, m.seq(b.seq, row))
			d.recipes = append(d.recipes, rec)
			d.row = append(d.row, row)
			row++
		}
		d.frames = append(d.frames, draftFrame{f, packed})
	}
	return nil
}

// cut makes frames of a good size: those that have it stay, the smaller ones
// become one with their neighbours.
func (d *draft) cut() {
	var out []draftFrame
	var f draftFrame
	flush := func() {
		if f.rows > 0 {
			out = append(out, f)
		}
		f = draftFrame{}
	}
	for _, old := range d.frames {
		if old.raw >= frameSize/2 {
			flush()
			out = append(out, old)
			continue
		}
		if f.raw+old.raw > frameSize*5/4 {
			flush()
		}
		f.rows += old.rows
		f.raw += old.raw
	}
	flush()
	if len(out) > maxFrames {
		out = out[:0]
		for _, f := range cutFrames(d.evs) {
			out = append(out, draftFrame{f, nil})
		}
	}
	d.frames = out
}

// withFields returns the events with their Fields.
func (d *draft) withFields() []picket.Event {
	var dec flatjson.Decoder
	for i := range d.evs {
		leaves, _, err := dec.Leaves(d.evs[i].Raw, nil)
		if err != nil {
			leaves = nil
		}
		d.evs[i].Fields = d.recipes[i].fields(nil, d.row[i], leaves)
	}
	return d.evs
}
