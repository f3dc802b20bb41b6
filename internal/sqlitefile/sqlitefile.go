// Package sqlitefile reads the rows of a damaged SQLite file. SQLite stops at the first
// page that makes no sense, and drops all of the write-ahead log after a damaged frame;
// this package reads each page by itself, and goes on after what is damaged.
//
// A row that it returns has the shape of a row. Whether its values are right, only the
// caller can tell, by a checksum among them.
package sqlitefile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
)

// A File is a SQLite file and its write-ahead log, which need not exist. Only files of one
// page size, UTF-8, auto_vacuum and no reserved bytes can be read.
type File struct {
	pageBytes int
	pages     uint32 // of the file and the log
	db, log   *os.File
	inLog     map[uint32]int64 // the offset in the log of a page's last version
	damaged   map[uint32]int64 // the same of a later version that is damaged
	logDamage int              // how many frames of the log are damaged
	empty     bool
}

// A Scope is how much of the log to read.
type Scope int

const (
	// BeforeDamage reads the transactions that SQLite would read: those before the first
	// damaged frame of the log.
	BeforeDamage Scope = iota
	// AllFrames also reads the frames after a damaged one.
	AllFrames
)

// Open opens a file for reading, and looks through its log.
func Open(path string, pageBytes int, scope Scope) (*File, error) {
	f := &File{pageBytes: pageBytes, inLog: make(map[uint32]int64), damaged: make(map[uint32]int64)}
	if err := f.open(path, scope); err != nil {
		f.Close()
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return f, nil
}

func (f *File) open(path string, scope Scope) (err error) {
	if f.db, err = os.Open(path); err != nil {
		return err
	}
	st, err := f.db.Stat()
	if err != nil {
		return err
	}
	f.empty = st.Size() == 0
	f.pages = uint32((st.Size() + int64(f.pageBytes) - 1) / int64(f.pageBytes))
	f.log, err = os.Open(path + "-wal")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.readLog(scope)
}

// Close closes the files.
func (f *File) Close() error {
	var errs []error
	for _, file := range []*os.File{f.db, f.log} {
		if file != nil {
			errs = append(errs, file.Close())
		}
	}
	return errors.Join(errs...)
}

// DamagedFrames returns how many frames of the log are damaged.
func (f *File) DamagedFrames() int { return f.logDamage }

// IsEmpty reports whether the file, without its log, has no bytes.
func (f *File) IsEmpty() bool { return f.empty }

// A Row is a row of any table with a rowid.
type Row struct {
	ID     int64
	Values []any // nil, int64, float64, string or []byte
}

// Rows yields the rows of all tables, in any order. The caller may keep them. A row of
// a damaged page comes after the same row of an earlier version of the page.
func (f *File) Rows() iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for n := uint32(1); n <= f.pages; n++ {
			kind, err := f.pageKind(n)
			if err != nil {
				yield(Row{}, err)
				return
			}
			if kind == kindFree || kind == kindOverflow {
				continue
			}
			page, err := f.page(n)
			if err != nil {
				yield(Row{}, err)
				return
			}
			if !f.rowsOf(page, n, yield) {
				return
			}
		}
		page := make([]byte, f.pageBytes)
		for n, at := range f.damaged {
			if _, err := f.log.ReadAt(page, at); err != nil {
				yield(Row{}, err)
				return
			}
			if !f.rowsOf(page, n, yield) {
				return
			}
		}
	}
}

// rowsOf yields the rows of a page, until yield returns false.
func (f *File) rowsOf(page []byte, n uint32, yield func(Row, error) bool) bool {
	for cell := range leafCells(page, n) {
		if row, ok := f.row(page, cell); ok && !yield(row, nil) {
			return false
		}
	}
	return true
}

// page returns the last version of a page. What is beyond the end of the file is zero.
func (f *File) page(n uint32) ([]byte, error) {
	page := make([]byte, f.pageBytes)
	src, at := f.db, int64(n-1)*int64(f.pageBytes)
	if offset, ok := f.inLog[n]; ok {
		src, at = f.log, offset
	}
	if _, err := src.ReadAt(page, at); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return page, nil
}

// A pageKind is what the pointer map says about a page.
type pageKind int

const (
	kindUnknown  pageKind = iota
	kindFree              // may still have rows that were deleted
	kindOverflow          // the rest of a long row
	kindTree
)

// pageKind looks a page up in the pointer map: every so many pages, one has an entry of
// five bytes for each of the pages after it.
func (f *File) pageKind(n uint32) (pageKind, error) {
	if n == 1 {
		return kindTree, nil
	}
	perMap := uint32(f.pageBytes/5) + 1
	mapPage := (n-2)/perMap*perMap + 2
	if n == mapPage {
		return kindFree, nil
	}
	var entry [1]byte
	src, at := f.db, int64(mapPage-1)*int64(f.pageBytes)
	if offset, ok := f.inLog[mapPage]; ok {
		src, at = f.log, offset
	}
	if _, err := src.ReadAt(entry[:], at+5*int64(n-mapPage-1)); err != nil && !errors.Is(err, io.EOF) {
		return kindUnknown, err
	}
	switch entry[0] {
	case 1, 5:
		return kindTree, nil
	case 2:
		return kindFree, nil
	case 3, 4:
		return kindOverflow, nil
	}
	return kindUnknown, nil
}

// leafCells yields where the cells of a leaf page of a table begin. The type of the page
// is not looked at, because it may be damaged: what is no cell makes no row.
func leafCells(page []byte, n uint32) iter.Seq[int] {
	return func(yield func(int) bool) {
		header := 0
		if n == 1 {
			header = 100
		}
		cells := int(binary.BigEndian.Uint16(page[header+3:]))
		for i := range cells {
			at := header + 8 + 2*i
			if at+2 > len(page) {
				return
			}
			if !yield(int(binary.BigEndian.Uint16(page[at:]))) {
				return
			}
		}
	}
}
