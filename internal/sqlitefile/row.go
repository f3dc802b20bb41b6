package sqlitefile

import (
	"encoding/binary"
	"math"
)

// maxRowBytes bounds a row; a damaged length could be anything.
const maxRowBytes = 600 << 20

// row reads the row of a cell. ok is false if there is none.
func (f *File) row(page []byte, at int) (r Row, ok bool) {
	if at < 8 || at >= len(page) {
		return Row{}, false
	}
	size, n := varint(page[at:])
	if n == 0 || size < 2 || size > maxRowBytes || size > int64(f.pages)*int64(f.pageBytes) {
		return Row{}, false
	}
	at += n
	id, n := varint(page[at:])
	if n == 0 {
		return Row{}, false
	}
	record, ok := f.record(page[at+n:], int(size))
	if !ok {
		return Row{}, false
	}
	values, ok := parseRecord(record)
	return Row{ID: id, Values: values}, ok
}

// record collects the bytes of a record: the first are in the cell, the rest in a chain of
// overflow pages.
func (f *File) record(cell []byte, size int) (record []byte, ok bool) {
	local := size
	if maxLocal := f.pageBytes - 35; size > maxLocal {
		minLocal := (f.pageBytes-12)*32/255 - 23
		if local = minLocal + (size-minLocal)%(f.pageBytes-4); local > maxLocal {
			local = minLocal
		}
	}
	if local > len(cell) {
		return nil, false
	}
	if local == size {
		return cell[:size], true
	}
	if local+4 > len(cell) {
		return nil, false
	}
	record = append([]byte(nil), cell[:local]...)
	next := binary.BigEndian.Uint32(cell[local:])
	for len(record) < size {
		if next == 0 || next > f.pages {
			return nil, false
		}
		page, err := f.page(next)
		if err != nil {
			return nil, false
		}
		next = binary.BigEndian.Uint32(page)
		record = append(record, page[4:min(len(page), 4+size-len(record))]...)
	}
	return record, true
}

// parseRecord parses a record: the types of its values, then the values.
func parseRecord(record []byte) (values []any, ok bool) {
	headerBytes, n := varint(record)
	if n == 0 || headerBytes < int64(n) || headerBytes > int64(len(record)) {
		return nil, false
	}
	types, body := record[n:headerBytes], record[headerBytes:]
	for len(types) > 0 {
		t, n := varint(types)
		if n == 0 {
			return nil, false
		}
		types = types[n:]
		v, size, ok := parseValue(t, body)
		if !ok {
			return nil, false
		}
		values, body = append(values, v), body[size:]
	}
	return values, len(body) == 0
}

// parseValue returns the value of a type at the start of body, and its size.
func parseValue(t int64, body []byte) (v any, size int, ok bool) {
	switch {
	case t == 0:
		return nil, 0, true
	case t >= 1 && t <= 6:
		size = [...]int{1, 2, 3, 4, 6, 8}[t-1]
		if size > len(body) {
			return nil, 0, false
		}
		n := int64(int8(body[0]))
		for _, b := range body[1:size] {
			n = n<<8 | int64(b)
		}
		return n, size, true
	case t == 7:
		if len(body) < 8 {
			return nil, 0, false
		}
		return math.Float64frombits(binary.BigEndian.Uint64(body)), 8, true
	case t == 8 || t == 9:
		return t - 8, 0, true
	case t < 12 || (t-12)/2 > int64(len(body)):
		return nil, 0, false
	case t%2 == 1:
		size = int(t-13) / 2
		return string(body[:size]), size, true
	}
	size = int(t-12) / 2
	return append([]byte{}, body[:size]...), size, true
}

// varint reads an integer of one to nine bytes; n is 0 if it does not end.
func varint(b []byte) (v int64, n int) {
	for i := range min(len(b), 9) {
		if i == 8 {
			return v<<8 | int64(b[i]), 9
		}
		v = v<<7 | int64(b[i]&0x7f)
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}
