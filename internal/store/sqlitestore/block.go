package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
)

const maxSeq = math.MaxInt64 >> partBits

// A snapshot is the store at one moment, on a connection of its own. It is for
// one goroutine.
type snapshot struct {
	conn     *sql.Conn
	readPart *sql.Stmt
	layout   int64 // changes when blocks are merged or deleted
}

func (s *Store) snapshot(ctx context.Context) (*snapshot, error) {
	if s.quit.Err() != nil {
		return nil, errClosed
	}
	conn, err := s.readDB.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("read store: %w", err)
	}
	n := &snapshot{conn: conn}
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
	if err := n.conn.QueryRowContext(ctx, "SELECT layout FROM counters").Scan(&n.layout); err != nil {
		return err
	}
	var err error
	n.readPart, err = n.conn.PrepareContext(ctx, "SELECT data FROM parts WHERE key = ?")
	return err
}

func (n *snapshot) close() {
	if n.readPart != nil {
		n.readPart.Close()
	}
	n.conn.ExecContext(context.Background(), "ROLLBACK")
	n.conn.Close()
}

// A block is a row of blocks, and reads its parts when asked.
type block struct {
	snap             *snapshot
	seq, span        int64
	n                int
	raw, size        int64
	minTime, maxTime int64
	minRecv, maxRecv int64
	indexed          bool
	dirBytes         []byte

	dirOnce  *directory
	metaOnce *metadata
}

const blockColumns = "seq, n, span, raw, size, min_time, max_time, min_recv, max_recv, indexed, dir"

func scanBlock(rows *sql.Rows) (*block, error) {
	b := &block{}
	err := rows.Scan(&b.seq, &b.n, &b.span, &b.raw, &b.size, &b.minTime, &b.maxTime, &b.minRecv, &b.maxRecv, &b.indexed, &b.dirBytes)
	return b, err
}

// listBlocks reads rows of blocks: where is what follows WHERE.
func (n *snapshot) listBlocks(ctx context.Context, where string, args ...any) ([]*block, error) {
	rows, err := n.conn.QueryContext(ctx, "SELECT "+blockColumns+" FROM blocks WHERE "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("list blocks: %w", err)
	}
	defer rows.Close()
	var out []*block
	for rows.Next() {
		b, err := scanBlock(rows)
		if err != nil {
			return nil, fmt.Errorf("list blocks: %w", err)
		}
		b.snap = n
		out = append(out, b)
	}
	return out, rows.Err()
}

// blockPage is how many rows of blocks are read at a time.
const blockPage = 128

// eachBlock calls f with each block that has sequence numbers from lo up to
// but not including hi, newest first, until f returns false.
func (n *snapshot) eachBlock(ctx context.Context, lo, hi int64, f func(*block) (bool, error)) error {
	for {
		page, err := n.listBlocks(ctx, "seq < ? AND seq + span > ? ORDER BY seq DESC LIMIT ?", hi, lo, blockPage)
		if err != nil {
			return err
		}
		for _, b := range page {
			if more, err := f(b); err != nil || !more {
				return err
			}
			hi = b.seq
		}
		if len(page) < blockPage {
			return nil
		}
	}
}

// at returns b as another snapshot of the same layout sees it.
func (b *block) at(n *snapshot) *block {
	c := *b
	c.snap, c.dirOnce, c.metaOnce = n, nil, nil
	return &c
}

func (b *block) fail(err error) error { return fmt.Errorf("block %d: %w", b.seq, err) }

// read returns a part, nil if there is none.
func (b *block) read(no int) ([]byte, error) { return b.readInto(nil, no) }

// readInto returns a part in buf, grown if need be.
func (b *block) readInto(buf []byte, no int) (data []byte, err error) {
	rows, err := b.snap.readPart.QueryContext(context.Background(), partKey(b.seq, no))
	if err != nil {
		return nil, fmt.Errorf("read part %d: %w", no, err)
	}
	defer rows.Close()
	if !rows.Next() {
		return nil, rows.Err()
	}
	var raw sql.RawBytes
	if err := rows.Scan(&raw); err != nil {
		return nil, fmt.Errorf("read part %d: %w", no, err)
	}
	return append(buf[:0], raw...), nil
}

func (b *block) dir() (*directory, error) {
	if b.dirOnce == nil {
		d, err := decodeDirectory(b.dirBytes, b.n)
		if err != nil {
			return nil, err
		}
		b.dirOnce = d
	}
	return b.dirOnce, nil
}

func (b *block) meta() (*metadata, error) {
	if b.metaOnce == nil {
		data, err := b.read(partMetadata)
		if err != nil {
			return nil, err
		}
		if b.metaOnce, err = decodeMetadata(data, b.n); err != nil {
			b.metaOnce = nil
			return nil, err
		}
	}
	return b.metaOnce, nil
}

func (b *block) ids() (IDList, error) {
	data, err := b.read(partIDs)
	if err != nil {
		return IDList{}, b.fail(err)
	}
	ids, err := DecodeIDs(data)
	if err != nil || ids.n != b.n {
		return IDList{}, b.fail(errors.Join(err, ErrCorrupt))
	}
	return ids, nil
}

func (b *block) recipes() (*fieldLayouts, error) {
	data, err := b.read(partFieldLayouts)
	if err != nil {
		return nil, err
	}
	return decodeFieldLayouts(data, b.n)
}
