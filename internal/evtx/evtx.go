// Package evtx reads the Windows event log as JSON, from .evtx files for picket scan
// and from XML. Each record becomes a JSON object in the format of evtx_dump, which
// package normalize calls "evtx".
//
// See "Windows XML Event Log (EVTX) format" of the libevtx project, and [MS-EVEN6]
// 2.2.12 for the binary XML. A file is a header of 4 KiB and chunks of 64 KiB, each
// with its own names and templates, so chunks can be decoded independently: a Reader
// reads them, and a Decoder decodes the records of each.
package evtx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

const (
	fileHeaderBytes   = 4096
	chunkBytes        = 64 << 10
	chunkHeaderBytes  = 512
	recordHeaderBytes = 24
	recordMagic       = 0x00002a2a
	chunkMagic        = "ElfChnk\x00"
)

// A Record is one event of the log.
type Record struct {
	ID   uint64
	Time time.Time // when it was written
	JSON []byte    // {"Event": …}; valid until the next record
}

// A Reader reads the chunks of a log. It is not safe for concurrent use.
type Reader struct {
	r               io.Reader
	counted         int  // chunks, used or not, by the header
	complete        int  // chunks, used or not, so far
	endsInsideChunk bool // the last chunk was returned incomplete
}

// ErrTruncated: a log ends inside a chunk, or before the last one that its header counts.
var ErrTruncated = errors.New("the event log is cut off")

// NewReader reads the header of a log.
func NewReader(r io.Reader) (*Reader, error) {
	header := make([]byte, fileHeaderBytes)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, fmt.Errorf("read evtx header: %w", err)
	}
	if string(header[:8]) != "ElfFile\x00" {
		return nil, errors.New("read evtx header: not an event log")
	}
	return &Reader{r: r, counted: int(binary.LittleEndian.Uint16(header[42:]))}, nil
}

// NextChunk returns the next chunk that was used, or io.EOF. Of a chunk that the log ends
// in, it returns what there is, and then ErrTruncated. A log may have more chunks than its
// header counts, if Windows did not close it.
func (r *Reader) NextChunk() (Chunk, error) {
	b := make([]byte, chunkBytes)
	for {
		n, err := io.ReadFull(r.r, b)
		clear(b[n:])
		used := string(b[:len(chunkMagic)]) == chunkMagic // otherwise it was never used, or is overwritten
		switch {
		case err == nil:
			r.complete++
		case n == 0 && err != io.EOF, err != io.EOF && err != io.ErrUnexpectedEOF:
			return Chunk{}, err
		case used:
			r.endsInsideChunk = true
		case r.endsInsideChunk || r.complete < r.counted:
			return Chunk{}, fmt.Errorf("%w: of %d chunks, %d are complete", ErrTruncated, max(r.counted, r.complete+1), r.complete)
		default: // slack at the end of the file
			return Chunk{}, io.EOF
		}
		if used {
			end := int(binary.LittleEndian.Uint32(b[48:]))
			if end < chunkHeaderBytes || end > chunkBytes {
				end = chunkBytes
			}
			return Chunk{b, min(end, n)}, nil
		}
	}
}

// A Chunk is a part of a log: records, and the names and templates that they refer to. The
// zero value has none.
type Chunk struct {
	b   []byte
	end int // of the records
}

// NumRecords returns the number of records, readable or not.
func (c Chunk) NumRecords() int {
	n := 0
	for at := chunkHeaderBytes; ; n++ {
		size := c.recordBytes(at)
		if size == 0 {
			return n
		}
		at += size
	}
}

// recordBytes returns the size of the record at an offset, 0 behind the last one.
func (c Chunk) recordBytes(at int) int {
	if at+recordHeaderBytes > c.end {
		return 0
	}
	b := c.b[at:c.end]
	size := int(binary.LittleEndian.Uint32(b[4:]))
	if binary.LittleEndian.Uint32(b) != recordMagic || size < recordHeaderBytes+4 || size > len(b) {
		return 0 // the rest of the chunk is slack
	}
	return size
}

// A Decoder decodes the records of chunks. The zero value is ready to use. It is not
// safe for concurrent use.
type Decoder struct {
	chunk     []byte
	templates map[uint32]*content // of the chunk, by their offset
	budget    int                 // bytes that the rest of the chunk may take
	w         writer
}

// maxChunkMemoryBytes is about how much memory the parsed templates, names and values of
// a chunk may take. Chunks can refer to the same bytes again and again, so without a bound
// a small file could take any amount of memory.
const maxChunkMemoryBytes = 128 * chunkBytes

// spendChunkMemory takes bytes of the budget, or fails.
func (d *Decoder) spendChunkMemory(bytes int) {
	if d.budget -= bytes; d.budget < 0 {
		panic(formatError(fmt.Sprintf("the records of the chunk take more than %d bytes", maxChunkMemoryBytes)))
	}
}

// Records decodes the records of a chunk in order. For one that cannot be read it yields
// a *RecordError.
func (d *Decoder) Records(c Chunk) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		d.chunk, d.budget = c.b, maxChunkMemoryBytes
		if d.templates == nil {
			d.templates = make(map[uint32]*content)
		}
		clear(d.templates)
		d.w.d = d
		for at := chunkHeaderBytes; ; {
			size := c.recordBytes(at)
			if size == 0 {
				return
			}
			b := c.b[at:]
			rec := Record{ID: binary.LittleEndian.Uint64(b[8:]), Time: timeOfFiletime(binary.LittleEndian.Uint64(b[16:]))}
			json, err := d.renderJSON(at+recordHeaderBytes, at+size-4)
			if err != nil {
				err = &RecordError{rec.ID, err}
			}
			rec.JSON = json
			if !yield(rec, err) {
				return
			}
			at += size
		}
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

// renderJSON converts the binary XML of a record to JSON.
func (d *Decoder) renderJSON(start, end int) (eventJSON []byte, err error) {
	p := parser{d: d, b: d.chunk[:end], at: start}
	defer func() {
		if e, ok := recover().(formatError); ok {
			err = e
		}
	}()
	return d.w.writeRecord(&p), nil
}

// A formatError is malformed binary XML. Parsing panics with it, and renderJSON
// recovers it.
type formatError string

func (m formatError) Error() string { return string(m) }

// timeOfFiletime converts a count of 100 ns since 1601; the zero time stands for one out
// of range.
func timeOfFiletime(filetime uint64) time.Time {
	const to1970 = 116444736000000000
	if filetime < to1970 || filetime > to1970+1<<62/100 {
		return time.Time{}
	}
	n := int64(filetime - to1970)
	return time.Unix(n/1e7, n%1e7*100).UTC()
}
