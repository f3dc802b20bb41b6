package sqlitestore

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

// formatCursor encodes where a page ended; the next page begins after that.
func formatCursor(list byte, at ...int64) string {
	b := []byte{list}
	for _, v := range at {
		b = binary.AppendVarint(b, v)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseCursor reads a cursor of n numbers.
func parseCursor(list byte, s string, n int) ([]int64, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) == 0 || b[0] != list {
		return nil, errCursor
	}
	b = b[1:]
	out := make([]int64, n)
	for i := range out {
		size := 0
		if out[i], size = binary.Varint(b); size <= 0 {
			return nil, errCursor
		}
		b = b[size:]
	}
	if len(b) > 0 {
		return nil, errCursor
	}
	return out, nil
}

var errCursor = fmt.Errorf("the cursor is of another list or damaged: %w", picket.ErrInvalid)

// formatNamedCursor is formatCursor for a list ordered by a number and a name.
func formatNamedCursor(list byte, at int64, name string) string {
	b := binary.AppendVarint([]byte{list}, at)
	return base64.RawURLEncoding.EncodeToString(append(b, name...))
}

func parseNamedCursor(list byte, s string) (int64, string, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) == 0 || b[0] != list {
		return 0, "", errCursor
	}
	at, size := binary.Varint(b[1:])
	if size <= 0 {
		return 0, "", errCursor
	}
	return at, string(b[1+size:]), nil
}
