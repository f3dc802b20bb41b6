// Package evtx reads the Windows event log as JSON, from .evtx files for picket scan
// and from XML. Each record becomes a JSON object in the format of evtx_dump, which
// package normalize calls "evtx".
//
// See "Windows XML Event Log (EVTX) format" of the libevtx project, and [MS-EVEN6]
// 2.2.12 for the binary XML. A file is a header of 4 KiB and chunks of 64 KiB, each
// with its own names and templates, so that it can be read chunk by chunk.
package evtx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	fileHeaderBytes   = 4096
	chunkBytes        = 64 << 10
	chunkHeaderBytes  = 512
	recordHeaderBytes = 24
)

// A Record is one event of the log.
type Record struct {
	ID   uint64
	Time time.Time // when it was written
	JSON []byte    // {"Event": …}; valid until the next call of Next
}

// A Reader reads records in the order of the file. It is not safe for concurrent
// use.
type Reader struct {
	r      io.Reader
	chunk  []byte // nil until the first, chunkBytes bytes
	at     int    // of the next record in the chunk
	end    int    // of the records
	chunks int    // chunks read

	templates map[uint32]*element
	out       []byte
	budget    int // bytes that the rest of the chunk may take
}

// maxChunkMemoryBytes is about how much memory the parsed templates, names and values of
// a chunk may take. Chunks can refer to the same bytes again and again, so without a bound
// a small file could take any amount of memory.
const maxChunkMemoryBytes = 128 * chunkBytes

// spendChunkMemory takes bytes of the budget, or fails.
func (r *Reader) spendChunkMemory(bytes int) {
	if r.budget -= bytes; r.budget < 0 {
		panic(formatError(fmt.Sprintf("the records of the chunk take more than %d bytes", maxChunkMemoryBytes)))
	}
}

// NewReader reads the header of a log.
func NewReader(r io.Reader) (*Reader, error) {
	header := make([]byte, fileHeaderBytes)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, fmt.Errorf("read evtx header: %w", err)
	}
	if string(header[:8]) != "ElfFile\x00" {
		return nil, errors.New("read evtx header: not an event log")
	}
	return &Reader{r: r}, nil
}

// Next returns the next record, or io.EOF. After a *RecordError, the next call
// returns the record behind the one that cannot be read.
func (r *Reader) Next() (Record, error) {
	for {
		if r.chunk == nil || r.at+recordHeaderBytes > r.end {
			if err := r.nextChunk(); err != nil {
				return Record{}, err
			}
			continue
		}
		b := r.chunk[r.at:r.end]
		size := int(binary.LittleEndian.Uint32(b[4:]))
		if binary.LittleEndian.Uint32(b) != 0x00002a2a || size < recordHeaderBytes+4 || size > len(b) {
			r.at = r.end // the rest of the chunk is slack
			continue
		}
		rec := Record{ID: binary.LittleEndian.Uint64(b[8:]), Time: fromFiletime(binary.LittleEndian.Uint64(b[16:]))}
		start := r.at + recordHeaderBytes
		r.at += size
		json, err := r.renderJSON(start, r.at-4)
		if err != nil {
			return rec, &RecordError{rec.ID, err}
		}
		rec.JSON = json
		return rec, nil
	}
}

// A RecordError reports a record that cannot be read.
type RecordError struct {
	ID  uint64
	Err error
}

func (e *RecordError) Error() string { return fmt.Sprintf("read record %d: %v", e.ID, e.Err) }

// Unwrap returns the cause.
func (e *RecordError) Unwrap() error { return e.Err }

func (r *Reader) nextChunk() error {
	if r.chunk == nil {
		r.chunk = make([]byte, chunkBytes)
	}
	r.at, r.end = 0, 0
	if _, err := io.ReadFull(r.r, r.chunk); err != nil {
		if err == io.ErrUnexpectedEOF { // slack at the end of the file
			return io.EOF
		}
		return err
	}
	r.chunks++
	if string(r.chunk[:8]) != "ElfChnk\x00" {
		return nil // never used, or overwritten
	}
	end := int(binary.LittleEndian.Uint32(r.chunk[48:]))
	if end < chunkHeaderBytes || end > chunkBytes {
		end = chunkBytes
	}
	r.at, r.end = chunkHeaderBytes, end
	r.templates, r.budget = make(map[uint32]*element), maxChunkMemoryBytes
	return nil
}

// renderJSON converts the binary XML of a record to JSON.
func (r *Reader) renderJSON(start, end int) (eventJSON []byte, err error) {
	p := parser{r: r, b: r.chunk[:end], at: start}
	defer func() {
		if e, ok := recover().(formatError); ok {
			err = e
		}
	}()
	w := writer{r: r, out: r.out[:0]}
	w.writeFragment(&p)
	r.out = w.out
	return w.out, nil
}

// A formatError is malformed binary XML. Parsing panics with it, and render
// recovers it.
type formatError string

func (m formatError) Error() string { return string(m) }

// fromFiletime converts a count of 100 ns since 1601.
func fromFiletime(filetime uint64) time.Time {
	const to1970 = 116444736000000000
	if filetime < to1970 || filetime > to1970+1<<62/100 {
		return time.Time{}
	}
	n := int64(filetime - to1970)
	return time.Unix(n/1e7, n%1e7*100).UTC()
}
