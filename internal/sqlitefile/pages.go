package sqlitefile

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// A pageReader reads the pages of a file that may be damaged, as of the last transaction
// in its write-ahead log.
type pageReader struct {
	file      *os.File
	log       *os.File        // the write-ahead log, nil if there is none
	inLog     map[int64]int64 // page → offset of its content in the log
	pageSize  int
	usable    int // bytes of a page that SQLite uses
	checked   bool
	pageCount int64
	damaged   map[int64]bool // met

	damagedInLog  map[int64]int64 // the same as inLog of later versions that are damaged
	damagedFrames int             // of the log
}

func openPages(path string) (*pageReader, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r := &pageReader{file: file, damaged: make(map[int64]bool)}
	if err := r.open(path); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *pageReader) open(path string) error {
	start := make([]byte, maxPageSize)
	n, err := r.file.ReadAt(start, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if r.log, err = os.Open(path + "-wal"); err != nil {
		r.log = nil
	}
	if r.pageSize = findCheckedPageSize(start[:n]); r.pageSize == 0 {
		r.pageSize = r.pageSizeByTrailers()
	}
	r.checked, r.usable = r.pageSize > 0, r.pageSize-trailerBytes
	if !r.checked {
		if r.pageSize = declaredPageSize(start); r.pageSize == 0 {
			r.pageSize = r.logPageSize()
		}
		if r.usable = r.pageSize - int(start[20]); r.pageSize == 0 || r.usable < 480 {
			return fmt.Errorf("neither it nor its write-ahead log has the header of a SQLite file: %w", ErrDamaged)
		}
	}
	info, err := r.file.Stat()
	if err != nil {
		return err
	}
	r.pageCount = (info.Size() + int64(r.pageSize) - 1) / int64(r.pageSize)
	return r.readLog(BeforeDamage)
}

// pageSizeByTrailers returns the page size for which one of the pages after the first has a
// valid trailer, 0 if there is none.
func (r *pageReader) pageSizeByTrailers() int {
	for size := 512; size <= maxPageSize; size *= 2 {
		page := make([]byte, size)
		for number := int64(2); number < 10; number++ {
			if _, err := r.file.ReadAt(page, (number-1)*int64(size)); err == nil && verifyOrCorrectPage(number, page) != pageDamaged {
				return size
			}
		}
	}
	return 0
}

func (r *pageReader) close() error {
	err := r.file.Close()
	if r.log != nil {
		err = errors.Join(err, r.log.Close())
	}
	return err
}

// page returns a page. The error is ErrDamaged if it cannot be read.
func (r *pageReader) page(number int64) ([]byte, error) {
	page, err := r.readPage(number)
	if errors.Is(err, ErrDamaged) {
		r.damaged[number] = true
	}
	return page, err
}

func (r *pageReader) readPage(number int64) ([]byte, error) {
	page := make([]byte, r.pageSize)
	if at, ok := r.inLog[number]; ok {
		_, err := r.log.ReadAt(page, at)
		return page, err
	}
	if number < 1 || number > r.pageCount {
		return nil, fmt.Errorf("page %d is beyond the end of the file: %w", number, ErrDamaged)
	}
	if n, err := r.file.ReadAt(page, (number-1)*int64(r.pageSize)); err != nil {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("page %d has only %d bytes: %w", number, n, ErrDamaged)
		} else {
			err = fmt.Errorf("read page %d: %w: %w", number, ErrDamaged, err) // a bad sector
		}
		return nil, err
	}
	if r.checked && verifyOrCorrectPage(number, page) == pageDamaged {
		return nil, fmt.Errorf("page %d has another checksum: %w", number, ErrDamaged)
	}
	return page, nil
}

// readDamaged reads a page into page, whether its checksum is right or not. What is beyond
// the end of the file is zero.
func (r *pageReader) readDamaged(number int64, page []byte) error {
	clear(page)
	src, at := r.file, (number-1)*int64(r.pageSize)
	inLog, ok := r.inLog[number]
	if ok {
		src, at = r.log, inLog
	}
	if _, err := src.ReadAt(page, at); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if r.checked && !ok {
		verifyOrCorrectPage(number, page) // corrects a changed bit
	}
	return nil
}
