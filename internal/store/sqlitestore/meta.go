package sqlitestore

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/picket-edr/picket"
)

// A meta is what a block keeps of its events besides their bytes and ids.
type meta struct {
	agent, host, typ, os *column
	time, received       []int64 // microseconds
	// offset is each event's distance from the block's first sequence number;
	// nil where they follow each other, as they do until events are pruned
	// from their middle.
	offset []int64
}

func (m *meta) seq(first int64, row int) int64 {
	if m.offset == nil {
		return first + int64(row)
	}
	return first + m.offset[row]
}

func encodeMeta(evs []picket.Event, offset []int64) []byte {
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
		out = appendSized(out, b.finish(len(evs)).encode(nil))
	}
	var last, lastReceived int64
	for i := range evs {
		t, r := micros(evs[i].Time), micros(evs[i].Received)
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

func decodeMeta(b []byte, n int) (*meta, error) {
	plain, err := unpack(nil, b)
	if err != nil {
		return nil, fmt.Errorf("read meta: %w", err)
	}
	c := cursor{b: plain}
	m := &meta{time: make([]int64, n), received: make([]int64, n)}
	for _, dst := range []**column{&m.agent, &m.host, &m.typ, &m.os} {
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

// text returns an event's only value in a column of meta.
func (c *column) text(row int) string {
	if r := int(c.rows[row]); r > 0 && r <= len(c.values) {
		return c.values[r-1]
	}
	return ""
}

// micros is a time as the store keeps it. The zero time is the least, so that
// it sorts first, and comes back as zero.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return math.MinInt64
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == math.MinInt64 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
