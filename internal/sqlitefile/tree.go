package sqlitefile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The format of pages and records is described in https://sqlite.org/fileformat2.html.

// Types of the pages of a tree.
const (
	interiorIndexPage = 2
	interiorTablePage = 5
	leafIndexPage     = 10
	leafTablePage     = 13
)

// Types of entries of the pointer map.
const (
	ptrmapRootPage = 1
	ptrmapBTree    = 5
)

// A row is a row of a table or an index.
type row struct {
	id     int64 // of a table
	values []any // nil, int64, float64, string or []byte
}

// A treeWalk calls visit with each readable row of one tree.
type treeWalk struct {
	pages *pageReader
	seen  map[int64]bool // interior pages
	visit func(row) error
	lost  int // pages and rows that cannot be read
}

// walk visits the tree below a page. Below a damaged page it goes on with the pages that
// the pointer map says are its children.
func (w *treeWalk) walk(number int64) error {
	if w.seen[number] {
		w.lost++
		return nil
	}
	page, err := w.pages.page(number)
	var tree treeNode
	if err == nil {
		tree, err = w.pages.parseNode(number, page)
	}
	if err != nil {
		if !errors.Is(err, ErrDamaged) {
			return err
		}
		w.lost++
		w.seen[number] = true
		tree = treeNode{children: w.pages.childrenInPointerMap(number)}
	}
	if len(tree.children) > 0 {
		w.seen[number] = true
	}
	for i := range max(len(tree.children), len(tree.cells)) {
		if i < len(tree.children) {
			if err := w.walk(tree.children[i]); err != nil {
				return err
			}
		}
		if i >= len(tree.cells) {
			continue
		}
		r, err := w.pages.readRow(tree.isIndex, tree.cells[i])
		if errors.Is(err, ErrDamaged) {
			w.lost++
			continue
		}
		if err != nil {
			return err
		}
		if err := w.visit(r); err != nil {
			return err
		}
	}
	return nil
}

// A treeNode is a page of a tree. Row i is between the children i and i+1.
type treeNode struct {
	isIndex  bool
	children []int64
	cells    [][]byte // of rows, each up to the end of the page
}

func malformed(number int64) error { return fmt.Errorf("page %d is malformed: %w", number, ErrDamaged) }

func (r *pageReader) parseNode(number int64, page []byte) (treeNode, error) {
	b := page[:r.usable]
	header := 0
	if number == 1 {
		header = 100
	}
	kind := b[header]
	node := treeNode{isIndex: kind == interiorIndexPage || kind == leafIndexPage}
	pointers, interior := header+8, false
	switch kind {
	case interiorIndexPage, interiorTablePage:
		pointers, interior = header+12, true
	case leafIndexPage, leafTablePage:
	default:
		return node, malformed(number)
	}
	n := int(binary.BigEndian.Uint16(b[header+3:]))
	if pointers+2*n > len(b) {
		return node, malformed(number)
	}
	for i := range n {
		at := int(binary.BigEndian.Uint16(b[pointers+2*i:]))
		if at < pointers+2*n || at+4 > len(b) {
			return node, malformed(number)
		}
		cell := b[at:]
		if interior {
			node.children = append(node.children, int64(binary.BigEndian.Uint32(cell)))
			cell = cell[4:]
		}
		if kind != interiorTablePage {
			node.cells = append(node.cells, cell)
		}
	}
	if interior {
		node.children = append(node.children, int64(binary.BigEndian.Uint32(b[header+8:])))
	}
	return node, nil
}

// pointerMap calls f with each entry of the file's pointer map: the type of a page and its
// parent.
func (r *pageReader) pointerMap(f func(page int64, kind byte, parent int64)) {
	entries := int64(r.usable / 5)
	for number := int64(2); number <= r.pageCount; number += entries + 1 {
		b, err := r.page(number)
		if err != nil {
			continue
		}
		for i := range entries { // also of pages that were cut off
			entry := b[5*i:]
			f(number+1+i, entry[0], int64(binary.BigEndian.Uint32(entry[1:])))
		}
	}
}

// childrenInPointerMap returns the children of a page according to the pointer map.
func (r *pageReader) childrenInPointerMap(parent int64) (children []int64) {
	r.pointerMap(func(page int64, kind byte, of int64) {
		if kind == ptrmapBTree && of == parent {
			children = append(children, page)
		}
	})
	return children
}

// rootsInPointerMap returns the first pages of all trees but the schema's, according to
// the pointer map.
func (r *pageReader) rootsInPointerMap() (roots []int64) {
	r.pointerMap(func(page int64, kind byte, _ int64) {
		if kind == ptrmapRootPage {
			roots = append(roots, page)
		}
	})
	return roots
}

// readRow reads the row of a cell.
func (r *pageReader) readRow(isIndex bool, cell []byte) (row, error) {
	var out row
	size, cell, ok := readVarint(cell)
	if ok && !isIndex {
		out.id, cell, ok = readVarint(cell)
	}
	if !ok || size < 0 || size > r.pageCount*int64(r.pageSize)+int64(len(r.inLog)*r.pageSize) {
		return out, fmt.Errorf("row without a size: %w", ErrDamaged)
	}
	payload, err := r.readPayload(isIndex, cell, int(size))
	if err != nil {
		return out, err
	}
	out.values, err = parseRecord(payload)
	return out, err
}

// readPayload returns the payload of a cell, of which a part may be in overflow pages.
func (r *pageReader) readPayload(isIndex bool, cell []byte, size int) ([]byte, error) {
	most := r.usable - 35
	if isIndex {
		most = (r.usable-12)*64/255 - 23
	}
	local := size
	if size > most {
		least := (r.usable-12)*32/255 - 23
		if local = least + (size-least)%(r.usable-4); local > most {
			local = least
		}
	}
	if local > len(cell) || local < size && local+4 > len(cell) {
		return nil, fmt.Errorf("row beyond its page: %w", ErrDamaged)
	}
	payload := cell[:local:local]
	if local == size {
		return payload, nil
	}
	for next := int64(binary.BigEndian.Uint32(cell[local:])); len(payload) < size; {
		page, err := r.page(next)
		if err != nil {
			return nil, err
		}
		payload = append(payload, page[4:min(r.usable, 4+size-len(payload))]...)
		next = int64(binary.BigEndian.Uint32(page))
	}
	return payload, nil
}

// readVarint reads one of SQLite's integers of one to nine bytes.
func readVarint(b []byte) (v int64, rest []byte, ok bool) {
	var u uint64
	for i := range min(len(b), 9) {
		if i == 8 {
			return int64(u<<8 | uint64(b[8])), b[9:], true
		}
		u = u<<7 | uint64(b[i]&0x7f)
		if b[i] < 0x80 {
			return int64(u), b[i+1:], true
		}
	}
	return 0, nil, false
}

// parseRecord returns the values of a record.
func parseRecord(b []byte) ([]any, error) {
	bad := fmt.Errorf("malformed row: %w", ErrDamaged)
	size, rest, ok := readVarint(b)
	if !ok || size < int64(len(b)-len(rest)) || size > int64(len(b)) {
		return nil, bad
	}
	types, body := b[len(b)-len(rest):size], b[size:]
	var values []any
	for len(types) > 0 {
		var kind int64
		if kind, types, ok = readVarint(types); !ok || kind < 0 {
			return nil, bad
		}
		n := valueBytes(kind)
		if n < 0 || n > int64(len(body)) {
			return nil, bad
		}
		values = append(values, parseValue(kind, body[:n]))
		body = body[n:]
	}
	return values, nil
}

// valueBytes returns the size of a value of a serial type, -1 if there is no such type.
func valueBytes(kind int64) int64 {
	switch {
	case kind >= 12:
		return (kind - 12) / 2
	case kind <= 4:
		return kind
	case kind == 5:
		return 6
	case kind <= 7:
		return 8
	case kind <= 9:
		return 0
	}
	return -1
}

func parseValue(kind int64, b []byte) any {
	switch {
	case kind >= 12 && kind%2 == 0:
		return append([]byte{}, b...)
	case kind >= 12:
		return string(b)
	case kind == 0:
		return nil
	case kind == 7:
		return math.Float64frombits(binary.BigEndian.Uint64(b))
	case kind >= 8:
		return kind - 8
	}
	v := int64(int8(b[0]))
	for _, c := range b[1:] {
		v = v<<8 | int64(c)
	}
	return v
}
