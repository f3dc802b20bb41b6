package sqlitefile

import (
	"encoding/binary"
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
	return r.readLog()
}

// pageSizeByTrailers returns the page size for which one of the pages after the first has a
// valid trailer, 0 if there is none.
func (r *pageReader) pageSizeByTrailers() int {
	for size := 512; size <= maxPageSize; size *= 2 {
		page := make([]byte, size)
		for number := int64(2); number < 10; number++ {
			if _, err := r.file.ReadAt(page, (number-1)*int64(size)); err == nil && verifyPage(number, page) != pageDamaged {
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
	if r.checked && verifyPage(number, page) == pageDamaged {
		return nil, fmt.Errorf("page %d has another checksum: %w", number, ErrDamaged)
	}
	return page, nil
}

// The format of a write-ahead log is described in https://sqlite.org/walformat.html.
const (
	logHeaderBytes   = 32
	frameHeaderBytes = 24
)

func (r *pageReader) logHeader() ([]byte, binary.ByteOrder) {
	header := make([]byte, logHeaderBytes)
	if r.log == nil {
		return nil, nil
	}
	if _, err := r.log.ReadAt(header, 0); err != nil {
		return nil, nil
	}
	switch binary.BigEndian.Uint32(header) {
	case 0x377f0682:
		return header, binary.LittleEndian
	case 0x377f0683:
		return header, binary.BigEndian
	}
	return nil, nil
}

// logPageSize returns the page size in the header of the write-ahead log, 0 if there is
// none.
func (r *pageReader) logPageSize() int {
	header, _ := r.logHeader()
	if header == nil {
		return 0
	}
	n := int(binary.BigEndian.Uint32(header[8:]))
	if n < 512 || n > maxPageSize || n&(n-1) != 0 {
		return 0
	}
	return n
}

// A logChecksum is the running checksum of a write-ahead log.
type logChecksum struct {
	order  binary.ByteOrder
	s0, s1 uint32
}

func (c *logChecksum) add(b []byte) {
	for ; len(b) >= 8; b = b[8:] {
		c.s0 += c.order.Uint32(b) + c.s1
		c.s1 += c.order.Uint32(b[4:]) + c.s0
	}
}

func (c *logChecksum) equals(b []byte) bool {
	return c.s0 == binary.BigEndian.Uint32(b) && c.s1 == binary.BigEndian.Uint32(b[4:])
}

// readLog finds the pages in the write-ahead log, as SQLite does: up to the last
// transaction before the first damage.
func (r *pageReader) readLog() error {
	r.inLog = make(map[int64]int64)
	header, order := r.logHeader()
	if header == nil || r.logPageSize() != r.pageSize {
		return nil
	}
	sum := logChecksum{order: order}
	if sum.add(header[:24]); !sum.equals(header[24:]) {
		return nil
	}
	uncommitted := make(map[int64]int64)
	frame := make([]byte, frameHeaderBytes+r.pageSize)
	for at := int64(logHeaderBytes); ; at += int64(len(frame)) {
		if _, err := r.log.ReadAt(frame, at); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		sum.add(frame[:8])
		sum.add(frame[frameHeaderBytes:])
		if string(frame[8:16]) != string(header[16:24]) || !sum.equals(frame[16:]) {
			return nil
		}
		uncommitted[int64(binary.BigEndian.Uint32(frame))] = at + frameHeaderBytes
		if pages := binary.BigEndian.Uint32(frame[4:]); pages > 0 { // the transaction ends
			for page, at := range uncommitted {
				r.inLog[page] = at
			}
			clear(uncommitted)
			r.pageCount = int64(pages)
		}
	}
}
