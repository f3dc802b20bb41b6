package sqlitestore

import (
	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/flatjson"
)

// A MergeInput is what an indexed block is made of: the events of fresh blocks,
// without Fields, and what those blocks had made of them.
type MergeInput struct {
	events       []picket.Event
	offsets      []int64
	layouts      []*fieldLayouts // of each event's block
	rows         []int           // in that
	nonCanonical bool            // some event may be
	frames       []mergeFrame
}

// A mergeFrame is a frame; packed is nil where it has yet to be made.
type mergeFrame struct {
	frameInfo
	packed []byte
}

// LoadMergeInput reads fresh blocks whole.
func LoadMergeInput(blocks []*block) (MergeInput, error) {
	var d MergeInput
	gaps := false
	for _, b := range blocks {
		if err := d.load(b); err != nil {
			return d, b.fail(err)
		}
		gaps = gaps || b.span != int64(b.n)
	}
	first := d.offsets[0]
	for i := range d.offsets {
		d.offsets[i] -= first
	}
	if !gaps {
		d.offsets = nil
	}
	return d, nil
}

func (d *MergeInput) load(b *block) error {
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
	d.nonCanonical = d.nonCanonical || dr.flags&flagNonCanonical != 0
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
			d.events = append(d.events, picket.Event{ID: ids.At(row), AgentID: m.agent.value(row), Host: m.host.value(row), Type: m.eventType.value(row), OS: m.os.value(row),
				Time: FromMicros(m.time[row]), Received: FromMicros(m.received[row]), Raw: fr.raw(k)})
			d.offsets = append(d.offsets, m.seq(b.seq, row))
			d.layouts = append(d.layouts, rec)
			d.rows = append(d.rows, row)
			row++
		}
		d.frames = append(d.frames, mergeFrame{f, packed})
	}
	return nil
}

// repackFrames makes frames of a good size: those that have it stay, the smaller ones
// become one with their neighbours.
func (d *MergeInput) repackFrames() {
	var out []mergeFrame
	var f mergeFrame
	flush := func() {
		if f.rows > 0 {
			out = append(out, f)
		}
		f = mergeFrame{}
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
		for _, f := range splitFrames(d.events) {
			out = append(out, mergeFrame{f, nil})
		}
	}
	d.frames = out
}

// eventsWithFields returns the events with their Fields.
func (d *MergeInput) eventsWithFields() []picket.Event {
	var dec flatjson.Decoder
	for i := range d.events {
		leaves, _, err := dec.Leaves(d.events[i].Raw, nil)
		if err != nil {
			leaves = nil
		}
		d.events[i].Fields = d.layouts[i].appendFields(nil, d.rows[i], leaves)
	}
	return d.events
}
