package sqlitestore

import (
	"fmt"
	"time"

	"github.com/picket-edr/picket"
)

// A tx is a transaction of the writer.
type tx struct {
	w       *writer
	now     time.Time
	nextSeq int64

	// What flush adds to the counters.
	stored, duplicate, matches int64
	events, raw, size          int64
	layout                     bool // blocks were merged or deleted
}

func (t *tx) exec(q string, args ...any) (int64, error) {
	res, err := t.w.exec(q, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (t *tx) flush() error {
	layout := 0
	if t.layout {
		layout = 1
	}
	_, err := t.exec(`UPDATE counters SET next_seq = ?, layout = layout + ?, stored = stored + ?, duplicate = duplicate + ?,
		matches = matches + ?, events = events + ?, raw = raw + ?, size = size + ?`,
		t.nextSeq, layout, t.stored, t.duplicate, t.matches, t.events, t.raw, t.size)
	if err != nil {
		return fmt.Errorf("write counters: %w", err)
	}
	return nil
}

// putBlock writes a block with its first event at seq.
func (t *tx) putBlock(seq int64, b *built) error {
	if seq+b.span > maxSeq {
		return fmt.Errorf("write block: out of sequence numbers")
	}
	size := b.size()
	_, err := t.exec(`INSERT INTO blocks (`+blockColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		seq, b.n, b.span, b.raw, size, b.minTime, b.maxTime, b.minRecv, b.maxRecv, b.indexed, b.dir)
	if err != nil {
		return fmt.Errorf("write block: %w", err)
	}
	for _, p := range b.parts {
		if _, err := t.exec("INSERT INTO parts (key, data) VALUES (?, ?)", partKey(seq, p.no), p.data); err != nil {
			return fmt.Errorf("write part %d of block: %w", p.no, err)
		}
	}
	t.events += int64(b.n)
	t.raw += b.raw
	t.size += size
	return nil
}

// dropBlock deletes a block, and reports whether it was still as b says.
func (t *tx) dropBlock(b *block) (bool, error) {
	n, err := t.exec("DELETE FROM blocks WHERE seq = ? AND n = ? AND span = ? AND indexed = ?", b.seq, b.n, b.span, b.indexed)
	if err != nil || n == 0 {
		return false, err
	}
	if _, err := t.exec("DELETE FROM parts WHERE key >= ? AND key < ?", partKey(b.seq, 0), partKey(b.seq+1, 0)); err != nil {
		return false, err
	}
	t.events -= int64(b.n)
	t.raw -= b.raw
	t.size -= b.size
	t.layout = true
	return true, nil
}

// knownBatch reports whether a batch of p that it takes for new was saved
// before, by another process or since p looked.
func (t *tx) knownBatch(p *saving) (bool, error) {
	for i := range p.batches {
		if p.batches[i].repeated {
			continue
		}
		var known bool
		if err := t.w.row("SELECT EXISTS (SELECT 1 FROM batches WHERE id = ?)", p.batches[i].id).Scan(&known); err != nil || known {
			return known, err
		}
	}
	return false, nil
}

// save writes what p has that is new.
func (t *tx) save(p *saving) error {
	for i := range p.blocks {
		if err := t.putBlock(t.nextSeq, &p.blocks[i]); err != nil {
			return err
		}
		t.nextSeq += p.blocks[i].span
	}
	for i := range p.batches {
		b := &p.batches[i]
		if b.repeated {
			continue
		}
		if _, err := t.exec("INSERT INTO batches (id, at) VALUES (?, ?)", b.id, micros(t.now)); err != nil {
			return fmt.Errorf("write batch %s: %w", b.id, err)
		}
		t.stored += int64(b.stored)
		t.duplicate += int64(len(b.isNew) - b.stored)
	}
	if err := t.saveHosts(p.hosts); err != nil {
		return err
	}
	for m, n := range p.minutes {
		if err := t.count(m.minute, rollupEvents, m.typ, n); err != nil {
			return err
		}
	}
	for i := range p.batches {
		b := &p.batches[i]
		b.newMatches, b.opened = 0, nil // of an attempt before
		if b.observed != nil {
			if _, err := t.exec("INSERT INTO observations (at, data) VALUES (?, ?)", micros(t.now), b.observed); err != nil {
				return fmt.Errorf("write observations of batch %s: %w", b.id, err)
			}
		}
		if len(b.matches) == 0 {
			continue
		}
		if err := t.saveMatches(b); err != nil {
			return err
		}
		t.matches += int64(b.newMatches)
	}
	return nil
}

const (
	rollupEvents = 0 // by type
	rollupAlerts = 1 // opened, by level
)

func (t *tx) count(minute int64, kind int, name string, n int64) error {
	_, err := t.exec(`INSERT INTO rollup (minute, kind, name, n) VALUES (?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET n = n + excluded.n`, minute, kind, name, n)
	if err != nil {
		return fmt.Errorf("count minute: %w", err)
	}
	return nil
}

func (t *tx) saveHosts(hosts map[string]*hostSeen) error {
	for name, h := range hosts {
		_, err := t.exec(`INSERT INTO hosts (name, agent_id, os, first_seen, last_seen, events, alerts, folded)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7) ON CONFLICT (name) DO UPDATE SET
			agent_id = CASE WHEN ?5 >= last_seen THEN ?2 ELSE agent_id END,
			os = CASE WHEN ?3 <> '' AND (?5 >= last_seen OR os = '') THEN ?3 ELSE os END,
			first_seen = min(first_seen, ?4), last_seen = max(last_seen, ?5), events = events + ?6`,
			name, h.agent, h.os, h.first, h.last, h.events, foldText(name))
		if err != nil {
			return fmt.Errorf("write host %s: %w", name, err)
		}
	}
	return nil
}

// minuteOf is the start of the minute of a time.
func minuteOf(us int64) int64 {
	const minute = 60_000_000
	m := us / minute
	if us%minute < 0 {
		m--
	}
	return m * minute
}

// see notes an event of the host.
func (h *hostSeen) see(ev *picket.Event) {
	at := micros(ev.Received)
	if h.events == 0 || at >= h.last {
		h.last, h.agent = at, ev.AgentID
		if ev.OS != "" {
			h.os = ev.OS
		}
	}
	if h.events == 0 || at < h.first {
		h.first = at
	}
	h.events++
}
