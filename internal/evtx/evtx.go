// Package evtx reads the Windows event log as JSON, from its files (.evtx) for
// `picket scan` and from XML: each record becomes an object in the form of
// evtx_dump, which package normalize calls "evtx".
//
// Format: "Windows XML Event Log (EVTX) format" of the libevtx project, and
// [MS-EVEN6] 2.2.12 for the binary XML in it. A file is a header of 4 KiB and
// chunks of 64 KiB, each with its own names and templates, so that reading
// streams by chunk.
package evtx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	headerSize      = 4096
	chunkSize       = 64 << 10
	chunkHeaderSize = 512
	recordHeader    = 24
)

// A Record is one event of the log.
type Record struct {
	ID   uint64
	Time time.Time // when it was written
	JSON []byte    // {"Event": …}; valid until the next call of Next
}

// A Reader reads records in the order of the file. It is for one goroutine.
type Reader struct {
	r     io.Reader
	chunk []byte // nil until the first, chunkSize bytes
	at    int    // of the next record in the chunk
	end   int    // of the records
	n     int    // chunks read

	templates map[uint32]*element
	out       []byte
}

// NewReader reads the header of a log.
func NewReader(r io.Reader) (*Reader, error) {
	head := make([]byte, headerSize)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, fmt.Errorf("read evtx header: %w", err)
	}
	if string(head[:8]) != "ElfFile\x00" {
		return nil, errors.New("read evtx header: not an event log")
	}
	return &Reader{r: r}, nil
}

// Next returns the next record, or io.EOF. After an error about one record the
// next call goes on behind it; a *RecordError says which it was.
func (r *Reader) Next() (Record, error) {
	for {
		if r.chunk == nil || r.at+recordHeader > r.end {
			if err := r.nextChunk(); err != nil {
				return Record{}, err
			}
			continue
		}
		b := r.chunk[r.at:r.end]
		size := int(binary.LittleEndian.Uint32(b[4:]))
		if binary.LittleEndian.Uint32(b) != 0x00002a2a || size < recordHeader+4 || size > len(b) {
			r.at = r.end // the rest of the chunk is slack
			continue
		}
		rec := Record{ID: binary.LittleEndian.Uint64(b[8:]), Time: filetime(binary.LittleEndian.Uint64(b[16:]))}
		start := r.at + recordHeader
		r.at += size
		json, err := r.render(start, r.at-4)
		if err != nil {
			return rec, &RecordError{rec.ID, err}
		}
		rec.JSON = json
		return rec, nil
	}
}

// A RecordError is a record that can't be read.
type RecordError struct {
	ID  uint64
	Err error
}

func (e *RecordError) Error() string { return fmt.Sprintf("read record %d: %v", e.ID, e.Err) }

// Unwrap returns the cause.
func (e *RecordError) Unwrap() error { return e.Err }

func (r *Reader) nextChunk() error {
	if r.chunk == nil {
		r.chunk = make([]byte, chunkSize)
	}
	r.at, r.end = 0, 0
	if _, err := io.ReadFull(r.r, r.chunk); err != nil {
		if err == io.ErrUnexpectedEOF { // slack at the end of the file
			return io.EOF
		}
		return err
	}
	r.n++
	if string(r.chunk[:8]) != "ElfChnk\x00" {
		return nil // never used, or overwritten: nothing in it
	}
	end := int(binary.LittleEndian.Uint32(r.chunk[48:]))
	if end < chunkHeaderSize || end > chunkSize {
		end = chunkSize
	}
	r.at, r.end = chunkHeaderSize, end
	r.templates = make(map[uint32]*element)
	return nil
}

// render turns the binary XML of a record into JSON.
func (r *Reader) render(start, end int) (out []byte, err error) {
	p := parser{r: r, b: r.chunk[:end], at: start}
	defer func() {
		if bad, ok := recover().(malformed); ok {
			err = bad
		}
	}()
	w := writer{out: r.out[:0]}
	w.fragment(&p)
	r.out = w.out
	return w.out, nil
}

// malformed is what parsing panics with at bytes that can't be; render alone
// recovers it.
type malformed string

func (m malformed) Error() string { return string(m) }

// filetime is a count of 100 ns since 1601.
func filetime(t uint64) time.Time {
	const to1970 = 116444736000000000
	if t < to1970 || t > to1970+1<<62/100 {
		return time.Time{}
	}
	n := int64(t - to1970)
	return time.Unix(n/1e7, n%1e7*100).UTC()
}
