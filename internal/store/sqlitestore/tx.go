package sqlitestore

import (
	"fmt"
	"time"

	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
	"github.com/picket-edr/picket/sigma/casefold"
)

// A tx is a transaction of the writer.
type tx struct {
	writer  *writer
	now     time.Time
	nextSeq int64
	quota   *store.QuotaUse

	// What writeCounters adds to the counters:
	stored, duplicate, conflicting, matches int64
	events, raw, size                       int64
	blocksChanged                           bool // blocks were merged or deleted
}

func (t *tx) exec(q string, args ...any) (int64, error) {
	res, err := t.writer.exec(q, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (t *tx) writeCounters() error {
	versionStep := 0
	if t.blocksChanged {
		versionStep = 1
	}
	_, err := t.exec(`UPDATE counters SET next_seq = ?, layout = layout + ?, stored = stored + ?, duplicate = duplicate + ?,
		conflicting = conflicting + ?, matches = matches + ?, events = events + ?, raw = raw + ?, size = size + ?`,
		t.nextSeq, versionStep, t.stored, t.duplicate, t.conflicting, t.matches, t.events, t.raw, t.size)
	if err != nil {
		return fmt.Errorf("write counters: %w", err)
	}
	return nil
}

// insertBlock inserts a block whose first event has a sequence number.
func (t *tx) insertBlock(seq int64, b *block.Encoded) error {
	if seq+b.Span > maxSeq {
		return fmt.Errorf("write block: out of sequence numbers")
	}
	size := b.Size()
	_, err := t.exec(`INSERT INTO blocks (`+blockColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		seq, b.EventCount, b.Span, b.RawBytes, size, b.MinTime, b.MaxTime, b.MinReceived, b.MaxReceived, b.Indexed, b.Directory)
	if err != nil {
		return fmt.Errorf("write block: %w", err)
	}
	for _, p := range b.Parts {
		if _, err := t.exec("INSERT INTO parts (key, data) VALUES (?, ?)", partKey(seq, p.Number), p.Data); err != nil {
			return fmt.Errorf("write part %d of block: %w", p.Number, err)
		}
	}
	t.events += int64(b.EventCount)
	t.raw += b.RawBytes
	t.size += size
	return nil
}

// deleteBlock deletes a block; it reports false if the block is not any more what
// its row says.
func (t *tx) deleteBlock(b *blockRow) (bool, error) {
	n, err := t.exec("DELETE FROM blocks WHERE seq = ? AND n = ? AND span = ? AND indexed = ?", b.seq, b.EventCount, b.Span, b.Indexed)
	if err != nil || n == 0 {
		return false, err
	}
	if _, err := t.exec("DELETE FROM parts WHERE key >= ? AND key < ?", partKey(b.seq, 0), partKey(b.seq+1, 0)); err != nil {
		return false, err
	}
	t.events -= int64(b.EventCount)
	t.raw -= b.RawBytes
	t.size -= b.size
	t.blocksChanged = true
	return true, nil
}

// anyBatchSavedMeanwhile reports whether a batch that p takes for new has been saved, by
// another process or since p looked it up.
func (t *tx) anyBatchSavedMeanwhile(p *saveOp) (bool, error) {
	for i := range p.batches {
		if p.batches[i].duplicate {
			continue
		}
		var known bool
		if err := t.writer.queryRow("SELECT EXISTS (SELECT 1 FROM batches WHERE id = ?)", p.batches[i].id).Scan(&known); err != nil || known {
			return known, err
		}
	}
	return false, nil
}

// save writes what is new in p.
func (t *tx) save(p *saveOp) error {
	for i := range p.blocks {
		if err := t.insertBlock(t.nextSeq, &p.blocks[i]); err != nil {
			return err
		}
		t.nextSeq += p.blocks[i].Span
	}
	for i := range p.batches {
		b := &p.batches[i]
		if b.duplicate {
			continue
		}
		if _, err := t.exec("INSERT INTO batches (id, at) VALUES (?, ?)", b.id, block.Micros(t.now)); err != nil {
			return fmt.Errorf("write batch %s: %w", b.id, err)
		}
		t.quota.AddEventBytes(b.sender, b.rawBytes)
		t.stored += int64(b.stored)
		t.duplicate += int64(len(b.isNew) - b.stored)
		t.conflicting += int64(len(b.conflicting))
	}
	if err := t.upsertHosts(p.hosts); err != nil {
		return err
	}
	for _, m := range p.minutes.Counts {
		if err := t.addMinuteEvents(m); err != nil {
			return err
		}
	}
	for i := range p.batches {
		if err := t.saveDetections(&p.batches[i]); err != nil {
			return err
		}
	}
	return nil
}

// saveDetections writes the observations and matches of a batch.
func (t *tx) saveDetections(b *dedupedBatch) error {
	b.newMatches, b.opened = 0, nil // an earlier attempt may have set them
	for _, data := range b.observations {
		if _, err := t.exec("INSERT INTO observations (at, data) VALUES (?, ?)", block.Micros(t.now), data); err != nil {
			return fmt.Errorf("write observations of batch %s: %w", b.id, err)
		}
	}
	if len(b.matches) == 0 {
		return nil
	}
	if err := t.saveMatches(b); err != nil {
		return err
	}
	t.matches += int64(b.newMatches)
	return nil
}

// Kinds of rows of table rollup.
const (
	rollupEvents = 0 // by type
	rollupAlerts = 1 // opened, by level
)

func (t *tx) addRollup(minute int64, kind int, name string, n int64) error {
	_, err := t.exec(`INSERT INTO rollup (minute, kind, name, n) VALUES (?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET n = n + excluded.n`, minute, kind, name, n)
	if err != nil {
		return fmt.Errorf("write rollup: %w", err)
	}
	return nil
}

// addMinuteEvents counts the events of a type in a minute, within store.MaxTypesPerMinute.
func (t *tx) addMinuteEvents(m store.MinuteCount) error {
	n, err := t.exec("UPDATE rollup SET n = n + ? WHERE minute = ? AND kind = ? AND name = ?", m.N, m.Minute, rollupEvents, m.Type)
	if err != nil {
		return fmt.Errorf("write rollup: %w", err)
	}
	if n > 0 {
		return nil
	}
	var types int
	if err := t.writer.queryRow("SELECT count(*) FROM rollup WHERE minute = ? AND kind = ?", m.Minute, rollupEvents).Scan(&types); err != nil {
		return fmt.Errorf("count types: %w", err)
	}
	if types >= store.MaxTypesPerMinute {
		m.Type = store.OtherTypesName
	}
	return t.addRollup(m.Minute, rollupEvents, m.Type, m.N)
}

// upsertHosts records the activity of hosts. A new host that is past the quota of its
// sender is left out.
func (t *tx) upsertHosts(hosts map[store.HostKey]*store.HostActivity) error {
	for key, h := range hosts {
		n, err := t.exec(`UPDATE hosts SET
			os = CASE WHEN ?3 <> '' AND (?5 >= last_seen OR os = '') THEN ?3 ELSE os END,
			first_seen = min(first_seen, ?4), last_seen = max(last_seen, ?5), events = events + ?6 WHERE name = ?1 AND agent_id = ?2`,
			key.Name, key.AgentID, h.OS, h.First, h.Last, h.Events)
		if err == nil && n == 0 && t.quota.AddHost(h.Sender) {
			_, err = t.exec(`INSERT INTO hosts (name, agent_id, os, first_seen, last_seen, events, alerts, folded)
				VALUES (?1, ?2, ?3, ?4, ?5, ?6, (SELECT count(*) FROM alerts WHERE host = ?1 AND agent_id = ?2 AND closed = 0), ?7)`,
				key.Name, key.AgentID, h.OS, h.First, h.Last, h.Events, casefold.String(key.Name))
		}
		if err != nil {
			return fmt.Errorf("write host %s: %w", key.Name, err)
		}
	}
	return nil
}
