package mongostore

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"github.com/picket-edr/picket"
)

// The lists that have cursors. A cursor of one is no cursor of another.
const (
	cursorEvents  = 'e'
	cursorAlerts  = 'a'
	cursorMatches = 'm'
	cursorHosts   = 'h'
)

// A place is where a page ended: two numbers and a name, as the list is
// ordered by.
type place struct {
	a, b int64
	name string
}

// cursorMark begins a cursor, so that text that happens to be base64 is none.
const cursorMark = "M1"

func formatCursor(list byte, p place) string {
	b := append([]byte(cursorMark), list)
	b = binary.AppendVarint(b, p.a)
	b = binary.AppendVarint(b, p.b)
	b = binary.AppendUvarint(b, uint64(len(p.name)))
	return base64.RawURLEncoding.EncodeToString(append(b, p.name...))
}

func parseCursor(list byte, s string) (place, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) < len(cursorMark)+1 || string(b[:len(cursorMark)]) != cursorMark || b[len(cursorMark)] != list {
		return place{}, errCursor
	}
	b = b[len(cursorMark)+1:]
	var p place
	for _, v := range []*int64{&p.a, &p.b} {
		n := 0
		if *v, n = binary.Varint(b); n <= 0 {
			return place{}, errCursor
		}
		b = b[n:]
	}
	size, n := binary.Uvarint(b)
	if n <= 0 || size != uint64(len(b)-n) {
		return place{}, errCursor
	}
	p.name = string(b[n:])
	return p, nil
}

var errCursor = fmt.Errorf("the cursor is of another list or damaged: %w", picket.ErrInvalid)
