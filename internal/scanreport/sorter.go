package scanreport

import (
	"bufio"
	"bytes"
	"cmp"
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"slices"
)

// sortMemoryBytes is about how much memory rows may take before they are written to a
// temporary file.
const sortMemoryBytes = 32 << 20

// maxMergedParts bounds the temporary files that are read at the same time.
const maxMergedParts = 64

// maxSameTimeRows bounds the rows of the same time that are compared with one another.
const maxSameTimeRows = 1 << 16

// A sortedRow is the values of a row and what it is sorted by.
type sortedRow struct {
	time   int64 // nanoseconds since 1970; those without a time come last
	number int64 // in the order of their arrival
	hash   [16]byte
	values []string
}

func (a *sortedRow) compare(b *sortedRow) int {
	return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.number, b.number))
}

// A sorter sorts rows by time in bounded memory.
type sorter struct {
	dir            string
	maxBytes, size int
	n              int64
	rows           []sortedRow
	parts          []*os.File // sorted, unlinked where the system can
}

func newSorter(dir string, maxBytes int) *sorter { return &sorter{dir: dir, maxBytes: maxBytes} }

func (s *sorter) add(r *row, values []string) error {
	out := sortedRow{time: math.MaxInt64, number: s.n, values: values}
	if !r.Time.IsZero() {
		out.time = r.Time.UnixNano()
	}
	h := sha256.New()
	h.Write([]byte(r.RuleID + "\x00"))
	h.Write(r.Raw)
	copy(out.hash[:], h.Sum(nil))
	s.n++
	s.rows = append(s.rows, out)
	for _, v := range values {
		s.size += len(v) + 16
	}
	if s.size += 80; s.size < s.maxBytes {
		return nil
	}
	return s.spill()
}

// spill writes the rows in memory to a part.
func (s *sorter) spill() error {
	slices.SortFunc(s.rows, func(a, b sortedRow) int { return a.compare(&b) })
	i := 0
	err := s.writePart(func() (*sortedRow, error) {
		if i == len(s.rows) {
			return nil, io.EOF
		}
		i++
		return &s.rows[i-1], nil
	})
	s.rows, s.size = nil, 0
	if err != nil || len(s.parts) < maxMergedParts {
		return err
	}
	old := s.parts
	s.parts = nil
	merged, err := newMerge(old)
	if err == nil {
		err = s.writePart(merged.next)
	}
	return errors.Join(err, closeParts(old))
}

// writePart writes a part with the rows that next returns.
func (s *sorter) writePart(next func() (*sortedRow, error)) error {
	f, err := os.CreateTemp(s.dir, "picket-scan-*")
	if err != nil {
		return err
	}
	s.parts = append(s.parts, f)
	w := bufio.NewWriterSize(f, 256<<10)
	var b []byte
	for {
		r, err := next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		b = r.appendTo(b[:0])
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}

// each calls f with each row in order. A row is a duplicate if one before it has the same
// time and the same hash.
func (s *sorter) each(f func(values []string, duplicate bool) error) error {
	if err := s.spill(); err != nil {
		return err
	}
	m, err := newMerge(s.parts)
	if err != nil {
		return err
	}
	sameTime, last := make(map[[16]byte]bool), int64(math.MinInt64)
	for {
		r, err := m.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if r.time != last || len(sameTime) >= maxSameTimeRows {
			clear(sameTime)
			last = r.time
		}
		duplicate := sameTime[r.hash]
		sameTime[r.hash] = true
		if err := f(r.values, duplicate); err != nil {
			return err
		}
	}
}

func (s *sorter) close() error { return closeParts(s.parts) }

func closeParts(parts []*os.File) error {
	var err error
	for _, f := range parts {
		err = errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return err
}

// appendTo appends a row as parts have it.
func (r *sortedRow) appendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(r.time))
	b = binary.BigEndian.AppendUint64(b, uint64(r.number))
	b = append(b, r.hash[:]...)
	b = binary.AppendUvarint(b, uint64(len(r.values)))
	for _, v := range r.values {
		b = append(binary.AppendUvarint(b, uint64(len(v))), v...)
	}
	return b
}

// readRow reads what appendTo appended.
func readRow(f *bufio.Reader) (*sortedRow, error) {
	var head [32]byte
	if _, err := io.ReadFull(f, head[:]); err != nil {
		return nil, err
	}
	r := &sortedRow{time: int64(binary.BigEndian.Uint64(head[:])), number: int64(binary.BigEndian.Uint64(head[8:])), hash: [16]byte(head[16:])}
	n, err := binary.ReadUvarint(f)
	for ; err == nil && n > 0; n-- {
		var size uint64
		if size, err = binary.ReadUvarint(f); err == nil {
			var text bytes.Buffer
			_, err = io.CopyN(&text, f, int64(size))
			r.values = append(r.values, text.String())
		}
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return r, err
}

// A merge reads sorted parts as one. It is a heap of the next row of each.
type merge []mergedPart

type mergedPart struct {
	row  *sortedRow
	rest *bufio.Reader
}

func newMerge(parts []*os.File) (*merge, error) {
	m := new(merge)
	for _, f := range parts {
		p := mergedPart{rest: bufio.NewReaderSize(f, 64<<10)}
		var err error
		if p.row, err = readRow(p.rest); err == io.EOF {
			continue
		} else if err != nil {
			return nil, err
		}
		*m = append(*m, p)
	}
	heap.Init(m)
	return m, nil
}

// next returns the next row, or io.EOF.
func (m *merge) next() (*sortedRow, error) {
	if len(*m) == 0 {
		return nil, io.EOF
	}
	first := &(*m)[0]
	row := first.row
	var err error
	if first.row, err = readRow(first.rest); err == io.EOF {
		heap.Pop(m)
	} else if err != nil {
		return nil, err
	} else {
		heap.Fix(m, 0)
	}
	return row, nil
}

func (m *merge) Len() int           { return len(*m) }
func (m *merge) Less(i, j int) bool { return (*m)[i].row.compare((*m)[j].row) < 0 }
func (m *merge) Swap(i, j int)      { (*m)[i], (*m)[j] = (*m)[j], (*m)[i] }
func (m *merge) Push(p any)         { *m = append(*m, p.(mergedPart)) }
func (m *merge) Pop() any {
	last := (*m)[len(*m)-1]
	*m = (*m)[:len(*m)-1]
	return last
}
