package sqlitefile

import (
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"os"
)

// A LogScope is how much of a write-ahead log to read.
type LogScope int

const (
	// BeforeDamage reads the transactions that SQLite would read: those before the first
	// damaged frame.
	BeforeDamage LogScope = iota
	// AllFrames also reads the frames after a damaged one.
	AllFrames
)

// A RowReader reads the rows of a damaged file page by page, wherever the page is in the
// trees of the file, also those of a damaged page and of a damaged frame of the log. What
// it returns has the shape of a row. Whether the values are right only the caller can
// tell, by a checksum among them.
type RowReader struct {
	pages *pageReader
	kinds []byte // of each page, from the pointer map; 0 if it is not known
	empty bool
}

// OpenRows opens a file whose pages have pageSize bytes, and its log.
func OpenRows(path string, pageSize int, scope LogScope) (*RowReader, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r := &RowReader{pages: &pageReader{file: file, pageSize: pageSize, damaged: make(map[int64]bool)}}
	if err := r.open(path, scope); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *RowReader) open(path string, scope LogScope) error {
	p := r.pages
	info, err := p.file.Stat()
	if err != nil {
		return err
	}
	r.empty = info.Size() == 0
	p.pageCount = (info.Size() + int64(p.pageSize) - 1) / int64(p.pageSize)
	if p.log, err = os.Open(path + "-wal"); err != nil {
		p.log = nil
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := p.readLog(scope); err != nil {
		return err
	}
	start := make([]byte, p.pageSize)
	if _, err := p.file.ReadAt(start, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	p.checked = findCheckedPageSize(start) == p.pageSize || p.pageSizeByTrailers() == p.pageSize
	p.usable = p.pageSize - trailerBytes
	if first, err := p.readPage(1); err == nil && !p.checked && first[20] != trailerBytes {
		p.usable = p.pageSize // of an earlier picket
	}
	r.kinds = make([]byte, p.pageCount+1)
	p.pointerMap(func(page int64, kind byte, _ int64) {
		if page <= p.pageCount {
			r.kinds[page] = kind
		}
	})
	return nil
}

// Close closes the file.
func (r *RowReader) Close() error { return r.pages.close() }

// DamagedFrames returns how many frames of the log are damaged.
func (r *RowReader) DamagedFrames() int { return r.pages.damagedFrames }

// IsFileEmpty reports whether the file, without its log, has no bytes.
func (r *RowReader) IsFileEmpty() bool { return r.empty }

// A Row is a row of any table with a rowid.
type Row struct {
	ID     int64
	Values []any // nil, int64, float64, string or []byte
}

// RowsOfAllTables yields the rows of all tables, in any order. The caller may keep
// them. Rows of a damaged frame come after those of an earlier version of the page.
func (r *RowReader) RowsOfAllTables() iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		page := make([]byte, r.pages.pageSize)
		for number := int64(1); number <= r.pages.pageCount; number++ {
			if kind := r.kinds[number]; kind != 0 && kind != ptrmapRootPage && kind != ptrmapBTree {
				continue
			}
			if err := r.pages.readDamaged(number, page); err != nil {
				yield(Row{}, err)
				return
			}
			if !r.rowsOf(page, number, yield) {
				return
			}
		}
		for number, at := range r.pages.damagedInLog {
			if _, err := r.pages.log.ReadAt(page, at); err != nil {
				yield(Row{}, err)
				return
			}
			if !r.rowsOf(page, number, yield) {
				return
			}
		}
	}
}

// rowsOf yields the rows of a page, as if it were a leaf of a table: the type of the page
// may be damaged, and what is no row has not the shape of one. It returns false if yield
// does.
func (r *RowReader) rowsOf(page []byte, number int64, yield func(Row, error) bool) bool {
	page = page[:r.pages.usable]
	header := 0
	if number == 1 {
		header = 100
	}
	cells := int(binary.BigEndian.Uint16(page[header+3:]))
	for pointer := header + 8; pointer+2 <= len(page) && cells > 0; pointer, cells = pointer+2, cells-1 {
		at := int(binary.BigEndian.Uint16(page[pointer:]))
		if at < pointer || at >= len(page) {
			continue
		}
		row, err := r.pages.readRow(false, page[at:])
		if err == nil && !yield(Row{ID: row.id, Values: row.values}, nil) {
			return false
		}
	}
	return true
}
