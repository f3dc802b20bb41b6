package sqlitestore

import (
	"context"
	"database/sql"
	"fmt"
	"math"

	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
)

// partNumberBits is how many bits of a key of table parts are the part number.
const partNumberBits = 9

const maxSeq = math.MaxInt64 >> partNumberBits

func partKey(seq int64, part int) int64 { return seq<<partNumberBits | int64(part) }

// A snapshot is the store at one moment, on a connection of its own. It is for
// one goroutine.
type snapshot struct {
	store         *Store
	conn          *sql.Conn
	selectPart    *sql.Stmt
	blocksVersion int64 // changes when blocks are merged or deleted
}

func (s *Store) snapshot(ctx context.Context) (*snapshot, error) {
	if s.quit.Err() != nil {
		return nil, errClosed
	}
	conn, err := s.readDB.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("read store: %w", err)
	}
	n := &snapshot{store: s, conn: conn}
	if err := n.begin(); err != nil {
		n.close()
		return nil, fmt.Errorf("read store: %w", err)
	}
	return n, nil
}

func (n *snapshot) begin() error {
	ctx := context.Background()
	if _, err := n.conn.ExecContext(ctx, "BEGIN"); err != nil {
		return err
	}
	if err := n.conn.QueryRowContext(ctx, "SELECT layout FROM counters").Scan(&n.blocksVersion); err != nil {
		return err
	}
	var err error
	n.selectPart, err = n.conn.PrepareContext(ctx, "SELECT data FROM parts WHERE key = ?")
	return err
}

func (n *snapshot) close() {
	if n.selectPart != nil {
		n.selectPart.Close()
	}
	n.conn.ExecContext(context.Background(), "ROLLBACK")
	n.conn.Close()
}

// A blockRow is a row of table blocks.
type blockRow struct {
	block.Header
	seq       int64 // of the first event
	size      int64 // of the parts and the directory
	directory []byte
}

const (
	blockColumns                 = "seq, n, span, raw, size, min_time, max_time, min_recv, max_recv, indexed, dir"
	blockColumnsWithoutDirectory = "seq, n, span, raw, size, min_time, max_time, min_recv, max_recv, indexed, x''"
)

func scanBlock(rows *sql.Rows) (*blockRow, error) {
	b := &blockRow{}
	err := rows.Scan(&b.seq, &b.EventCount, &b.Span, &b.RawBytes, &b.size, &b.MinTime, &b.MaxTime, &b.MinReceived, &b.MaxReceived, &b.Indexed, &b.directory)
	return b, err
}

// listBlocks returns the blocks for which a condition holds; where is what
// follows WHERE.
func (n *snapshot) listBlocks(ctx context.Context, where string, args ...any) ([]*blockRow, error) {
	blocks, err := n.queryBlocks(ctx, blockColumns, where, args...)
	if !isDamage(err) {
		return blocks, err
	}
	if err := n.setAsideUnreadableRows(ctx); err != nil {
		return nil, err
	}
	return n.queryBlocks(ctx, blockColumns, where, args...)
}

func (n *snapshot) queryBlocks(ctx context.Context, columns, where string, args ...any) ([]*blockRow, error) {
	rows, err := n.conn.QueryContext(ctx, "SELECT "+columns+" FROM blocks WHERE seq NOT IN (SELECT seq FROM damaged_blocks) AND seq NOT IN ("+
		n.store.damaged.unreadableRowsSQL()+") AND "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("list blocks: %w", err)
	}
	defer rows.Close()
	var out []*blockRow
	for rows.Next() {
		b, err := scanBlock(rows)
		if err != nil {
			return nil, fmt.Errorf("list blocks: %w", err)
		}
		out = append(out, b)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list blocks: %w", err)
	}
	return out, nil
}

// blockRowsPerPage is how many rows of blocks are read at a time.
const blockRowsPerPage = 128

// eachBlock calls f with each block, newest first, until f returns false. A block of which
// f returns that it is damaged is set aside.
func (n *snapshot) eachBlock(ctx context.Context, f func(*block.Block) (bool, error)) error {
	for end := int64(maxSeq); ; {
		page, err := n.listBlocks(ctx, "seq < ? ORDER BY seq DESC LIMIT ?", end, blockRowsPerPage)
		if err != nil {
			return err
		}
		for _, b := range page {
			end = b.seq
			if n.store.damaged.has(b) {
				continue
			}
			more, err := f(n.openBlock(b))
			if isDamage(err) {
				n.store.setAside(b, err, false)
				continue
			}
			if err != nil || !more {
				return err
			}
		}
		if len(page) < blockRowsPerPage {
			return nil
		}
	}
}

// openBlock returns the block of a row. The row may be from another snapshot with the
// same blocksVersion.
func (n *snapshot) openBlock(b *blockRow) *block.Block {
	return block.Open(b.Header, b.seq, b.directory, partReader{n, b.seq})
}

// readBlocks reads blocks whole.
func (n *snapshot) readBlocks(rows []*blockRow) (*block.MergeInput, error) {
	blocks := make([]*block.Block, len(rows))
	for i, b := range rows {
		blocks[i] = n.openBlock(b)
	}
	return block.ReadAll(blocks)
}

// A partReader reads the parts of one block.
type partReader struct {
	snap *snapshot
	seq  int64
}

// ReadPart implements block.PartReader.
func (r partReader) ReadPart(buf []byte, number int) ([]byte, error) {
	rows, err := r.snap.selectPart.QueryContext(context.Background(), partKey(r.seq, number))
	if err != nil {
		return nil, fmt.Errorf("read part %d: %w", number, err)
	}
	defer rows.Close()
	if !rows.Next() {
		return nil, rows.Err()
	}
	var raw sql.RawBytes
	if err := rows.Scan(&raw); err != nil {
		return nil, fmt.Errorf("read part %d: %w", number, err)
	}
	return append(buf[:0], raw...), nil
}
