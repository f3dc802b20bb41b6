package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/picket-edr/picket/internal/sqlitefile"
	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
)

// A block that cannot be read is set aside: everything but Salvage leaves it out, its
// events are not counted any more, and table damaged_blocks has it. Its rows stay where
// they are, because deleting them would have to read them.

// isDamage reports whether an error says that stored bytes are not what was written.
func isDamage(err error) bool { return errors.Is(err, block.ErrCorrupt) || sqlitefile.IsDamage(err) }

// damagedBlocks are the blocks that this process has set aside.
type damagedBlocks struct {
	mu     sync.Mutex
	blocks map[blockVersion]bool
	// unreadable are the sequence numbers of those of which the row in table blocks cannot
	// be read.
	unreadableRows []int64
	// unmergeable are blocks that can be read but not deleted, because of damage beside
	// them. They stay as they are.
	unmergeable map[int64]bool
}

// A blockVersion tells a block from another that takes its sequence number later.
type blockVersion struct {
	seq     int64
	events  int
	indexed bool
}

func versionOf(b *blockRow) blockVersion { return blockVersion{b.seq, b.EventCount, b.Indexed} }

func (d *damagedBlocks) has(b *blockRow) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.blocks[versionOf(b)]
}

// add reports false if the block was set aside before.
func (d *damagedBlocks) add(b *blockRow, rowUnreadable bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.blocks[versionOf(b)] {
		return false
	}
	if d.blocks == nil {
		d.blocks = make(map[blockVersion]bool)
	}
	d.blocks[versionOf(b)] = true
	if rowUnreadable {
		d.unreadableRows = append(d.unreadableRows, b.seq)
	}
	return true
}

// unreadableRowsSQL returns the sequence numbers of the unreadable rows as SQL.
func (d *damagedBlocks) unreadableRowsSQL() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for _, seq := range d.unreadableRows {
		out = append(out, strconv.FormatInt(seq, 10))
	}
	return strings.Join(out, ", ")
}

func (d *damagedBlocks) setUnmergeable(blocks []*blockRow) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unmergeable == nil {
		d.unmergeable = make(map[int64]bool)
	}
	for _, b := range blocks {
		d.unmergeable[b.seq] = true
	}
}

// mergeable returns the blocks that are not set aside and can be merged.
func (d *damagedBlocks) mergeable(blocks []*blockRow) []*blockRow {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []*blockRow
	for _, b := range blocks {
		if !d.blocks[versionOf(b)] && !d.unmergeable[b.seq] {
			out = append(out, b)
		}
	}
	return out
}

// setAside sets a block aside that cannot be read, and logs it. The channel receives the
// outcome once the file says so too.
func (s *Store) setAside(b *blockRow, cause error, rowUnreadable bool) <-chan error {
	done := make(chan error, 1)
	if !s.damaged.add(b, rowUnreadable) {
		done <- fmt.Errorf("block %d is still there after it was set aside: %w", b.seq, cause)
		return done
	}
	s.log.Error("damaged block of events set aside; picket doctor --repair saves what can be read of it",
		"block", b.seq, "events", b.EventCount, "received_from", block.FromMicros(b.MinReceived), "received_to", block.FromMicros(b.MaxReceived), "error", cause)
	if s.quit.Err() != nil {
		done <- errClosed
		return done
	}
	s.goroutines.Go(func() {
		err := s.writer.transact(s.quit, func(t *tx) error { return t.setAside(b, cause.Error(), false) })
		if err != nil && s.quit.Err() == nil {
			s.log.Error("recording a damaged block failed", "block", b.seq, "error", err)
		}
		done <- err
	})
	return done
}

// setAside records that a block cannot be read or, if it is past its retention, deleted.
// It does nothing if the block has been merged meanwhile.
func (t *tx) setAside(b *blockRow, cause string, pastRetention bool) error {
	n, err := t.exec(`INSERT OR IGNORE INTO damaged_blocks (seq, events, at, cause, deleted)
		SELECT seq, n, ?, ?, ? FROM blocks WHERE seq = ? AND n = ? AND span = ? AND indexed = ?`,
		block.Micros(t.now), cause, pastRetention, b.seq, b.EventCount, b.Span, b.Indexed)
	if err != nil || n == 0 {
		return err
	}
	t.events -= int64(b.EventCount)
	t.raw -= b.RawBytes
	t.size -= b.size
	t.blocksChanged = true
	return nil
}

// setAsideUnreadable sets aside those of the blocks that cannot be read whole.
func (s *Store) setAsideUnreadable(snap *snapshot, blocks []*blockRow) error {
	var recorded []<-chan error
	for _, b := range blocks {
		if _, err := snap.readBlocks([]*blockRow{b}); isDamage(err) {
			recorded = append(recorded, s.setAside(b, err, false))
		}
	}
	var errs []error
	for _, done := range recorded {
		errs = append(errs, <-done)
	}
	return errors.Join(errs...)
}

// setAsideUnreadableRows sets aside the blocks of which the row in table blocks cannot be
// read to its end. It returns an error if the table itself cannot be read.
func (n *snapshot) setAsideUnreadableRows(ctx context.Context) error {
	all, err := n.queryBlocks(ctx, blockColumnsWithoutDirectory, "1")
	if err != nil {
		return err
	}
	for _, b := range all {
		if _, err := n.queryBlocks(ctx, blockColumns, "seq = ?", b.seq); isDamage(err) {
			n.store.setAside(b, err, true)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// deletePast deletes blocks that are past their retention, and returns how many events they
// had. A block that cannot be deleted, because of damage in it or beside it, is left out of
// everything instead.
func (s *Store) deletePast(ctx context.Context, blocks []*blockRow) (deleted int64, err error) {
	for _, b := range blocks {
		err := s.replaceBlocks(ctx, []*blockRow{b}, nil)
		if isDamage(err) {
			s.log.Error("damage keeps an old block of events from being deleted; it is left out of everything", "block", b.seq, "error", err)
			cause := err.Error()
			err = s.writer.transact(ctx, func(t *tx) error { return t.setAside(b, cause, true) })
		}
		if errors.Is(err, errBlocksChanged) {
			continue
		}
		if err != nil {
			return deleted, err
		}
		deleted += int64(b.EventCount)
	}
	return deleted, nil
}

// checkTables returns an error if the tables that everything needs are damaged. Of the
// blocks, which can be set aside, it checks only that they can be listed and added. It
// stops without an error when ctx ends: in a large store, damage in the rest is found when
// it is read.
func checkTables(ctx context.Context, db *sql.DB) error {
	tables, err := listNames(ctx, db, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('blocks', 'parts')")
	if err != nil {
		return err
	}
	queries := []string{
		"SELECT iif(ifnull(last, 0) >= 0 AND ifnull(events, 0) >= 0, 'ok', 'blocks') FROM (SELECT max(key) AS last FROM parts), (SELECT sum(n) AS events FROM blocks)",
		"SELECT CASE count(*) WHEN 1 THEN 'ok' ELSE 'the row of table counters is missing' END FROM counters",
	}
	for _, table := range tables {
		queries = append(queries, `SELECT * FROM pragma_quick_check('`+table+`')`)
	}
	for _, query := range queries {
		found, err := listNames(ctx, db, query)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if len(found) != 1 || found[0] != "ok" {
			return fmt.Errorf("%s: %w", strings.Join(found[:min(1, len(found))], ""), sqlitefile.ErrDamaged)
		}
	}
	return nil
}

func listNames(ctx context.Context, db *sql.DB, query string) (names []string, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}
