package block

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/picket-edr/picket"
)

// eventMetadata is what a block keeps of its events besides their bytes and ids.
// Packed, it is:
//
//	four columns, each preceded by its size: agents, hosts, types, operating systems
//	with flagSenders, two more: senders, indexes
//	for each event: its time and its time of receipt, as differences from the event before
//	unless the sequence numbers are consecutive, for each event: the gap before it
type eventMetadata struct {
	agent, host, eventType, os *column
	sender, index              *column // nil if no event has a sender
	time, received             []int64 // microseconds
	// offsets are the events' distances from the block's first sequence number;
	// nil if they are consecutive, as they are until events are pruned from
	// among them.
	offsets []int64
}

func (m *eventMetadata) seq(first int64, row int) int64 {
	if m.offsets == nil {
		return first + int64(row)
	}
	return first + m.offsets[row]
}

// encodeMetadata returns the metadata of events, and flagSenders if it has it.
func encodeMetadata(evs []picket.Event, offsets []int64) (packed []byte, flags byte) {
	var out []byte
	texts := []func(*picket.Event) string{
		func(e *picket.Event) string { return e.AgentID },
		func(e *picket.Event) string { return e.Host },
		func(e *picket.Event) string { return e.Type },
		func(e *picket.Event) string { return e.OS },
	}
	if slices.ContainsFunc(evs, func(e picket.Event) bool { return e.Sender != "" }) {
		flags = flagSenders
		texts = append(texts, func(e *picket.Event) string { return e.Sender }, func(e *picket.Event) string { return e.Index })
	}
	for _, text := range texts {
		b := newColumnBuilder("", len(evs))
		for i := range evs {
			b.indexOrAdd(i, text(&evs[i]))
		}
		out = appendSized(out, b.build(len(evs)).encode(nil))
	}
	var last, lastReceived int64
	for i := range evs {
		t, r := Micros(evs[i].Time), Micros(evs[i].Received)
		out = binary.AppendVarint(out, t-last)
		out = binary.AppendVarint(out, r-lastReceived)
		last, lastReceived = t, r
	}
	var gap int64
	for i, o := range offsets {
		out = binary.AppendUvarint(out, uint64(o-int64(i)-gap))
		gap = o - int64(i)
	}
	return compressOrCopy(nil, out), flags
}

// decodeMetadata reads the metadata of a block of n events with flags.
func decodeMetadata(b []byte, n int, flags byte) (*eventMetadata, error) {
	plain, err := decompressPacked(nil, b)
	if err != nil {
		return nil, fmt.Errorf("read metadata: %w", err)
	}
	r := byteReader{b: plain}
	m := &eventMetadata{time: make([]int64, n), received: make([]int64, n)}
	columns := []**column{&m.agent, &m.host, &m.eventType, &m.os}
	if flags&flagSenders != 0 {
		columns = append(columns, &m.sender, &m.index)
	}
	for _, dst := range columns {
		if *dst, err = decodeColumn(r.readBytes(r.readCount()), n); err != nil {
			return nil, fmt.Errorf("read metadata: %w", err)
		}
	}
	var last, lastReceived int64
	for i := range n {
		last += r.readVarint()
		lastReceived += r.readVarint()
		m.time[i], m.received[i] = last, lastReceived
	}
	if len(r.b) > 0 {
		m.offsets = make([]int64, n)
		var gap int64
		for i := range n {
			gap += int64(r.readUvarint())
			m.offsets[i] = int64(i) + gap
		}
	}
	return m, r.err
}

// event returns the event of a row without its Fields.
func (m *eventMetadata) event(row int, id string, raw []byte) picket.Event {
	ev := picket.Event{ID: id, AgentID: m.agent.value(row), Host: m.host.value(row), Type: m.eventType.value(row), OS: m.os.value(row),
		Time: FromMicros(m.time[row]), Received: FromMicros(m.received[row]), Raw: raw}
	if m.sender != nil {
		ev.Sender, ev.Index = m.sender.value(row), m.index.value(row)
	}
	return ev
}
