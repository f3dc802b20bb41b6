package sqlitestore

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/picket-edr/picket"
)

// A metadata is what a block keeps of its events besides their bytes and ids.
type metadata struct {
	agent, host, eventType, os *column
	time, received             []int64 // microseconds
	// offset is each event's distance from the block's first sequence number;
	// nil where they follow each other, as they do until events are pruned
	// from their middle.
	offset []int64
}

func (m *metadata) seq(first int64, row int) int64 {
	if m.offset == nil {
		return first + int64(row)
	}
	return first + m.offset[row]
}

func encodeMetadata(evs []picket.Event, offset []int64) []byte {
	var out []byte
	texts := []func(*picket.Event) string{
		func(e *picket.Event) string { return e.AgentID },
		func(e *picket.Event) string { return e.Host },
		func(e *picket.Event) string { return e.Type },
		func(e *picket.Event) string { return e.OS },
	}
	for _, text := range texts {
		b := newColumnBuilder("", len(evs))
		for i := range evs {
			b.add(i, text(&evs[i]))
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
	for i, o := range offset {
		out = binary.AppendUvarint(out, uint64(o-int64(i)-gap))
		gap = o - int64(i)
	}
	return pack(nil, out)
}

func decodeMetadata(b []byte, n int) (*metadata, error) {
	plain, err := unpack(nil, b)
	if err != nil {
		return nil, fmt.Errorf("read meta: %w", err)
	}
	c := byteReader{b: plain}
	m := &metadata{time: make([]int64, n), received: make([]int64, n)}
	for _, dst := range []**column{&m.agent, &m.host, &m.eventType, &m.os} {
		if *dst, err = decodeColumn(c.bytes(c.count()), n); err != nil {
			return nil, fmt.Errorf("read meta: %w", err)
		}
	}
	var last, lastReceived int64
	for i := range n {
		last += c.varint()
		lastReceived += c.varint()
		m.time[i], m.received[i] = last, lastReceived
	}
	if len(c.b) > 0 {
		m.offset = make([]int64, n)
		var gap int64
		for i := range n {
			gap += int64(c.uvarint())
			m.offset[i] = int64(i) + gap
		}
	}
	return m, c.err
}

func appendSized(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// value returns an event's only value in a column of meta.
func (c *column) value(row int) string {
	if r := int(c.rows[row]); r > 0 && r <= len(c.values) {
		return c.values[r-1]
	}
	return ""
}

// Micros is a time as the store keeps it. The zero time is the least, so that
// it sorts first, and comes back as zero.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return math.MinInt64
	}
	return t.UnixMicro()
}

func FromMicros(us int64) time.Time {
	if us == math.MinInt64 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
