package mongostore

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"github.com/picket-edr/picket"
)

// The lists that have cursors. A cursor is valid for its list only.
const (
	cursorEvents  = 'e'
	cursorAlerts  = 'a'
	cursorMatches = 'm'
	cursorHosts   = 'h'
)

// A cursorPosition is where a page ended: the values by which the list is ordered.
type cursorPosition struct {
	a, b int64
	name string
}

// cursorPrefix begins every cursor, so that other text in base64 is not one.
const cursorPrefix = "M1"

func formatCursor(list byte, p cursorPosition) string {
	b := append([]byte(cursorPrefix), list)
	b = binary.AppendVarint(b, p.a)
	b = binary.AppendVarint(b, p.b)
	b = binary.AppendUvarint(b, uint64(len(p.name)))
	return base64.RawURLEncoding.EncodeToString(append(b, p.name...))
}

func parseCursor(list byte, s string) (cursorPosition, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) < len(cursorPrefix)+1 || string(b[:len(cursorPrefix)]) != cursorPrefix || b[len(cursorPrefix)] != list {
		return cursorPosition{}, errCursor
	}
	b = b[len(cursorPrefix)+1:]
	var p cursorPosition
	for _, v := range []*int64{&p.a, &p.b} {
		n := 0
		if *v, n = binary.Varint(b); n <= 0 {
			return cursorPosition{}, errCursor
		}
		b = b[n:]
	}
	size, n := binary.Uvarint(b)
	if n <= 0 || size != uint64(len(b)-n) {
		return cursorPosition{}, errCursor
	}
	p.name = string(b[n:])
	return p, nil
}

var errCursor = fmt.Errorf("the cursor is of another list or damaged: %w", picket.ErrInvalid)
