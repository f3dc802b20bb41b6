package sqlitestore

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
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

// formatHostCursor is formatCursor for the list of hosts, which is ordered by time, name
// and agent.
func formatHostCursor(last *store.Host) string {
	b := binary.AppendVarint([]byte{cursorHosts}, block.Micros(last.LastSeen))
	b = binary.AppendUvarint(b, uint64(len(last.Name)))
	b = append(b, last.Name...)
	return base64.RawURLEncoding.EncodeToString(append(b, last.AgentID...))
}

func parseHostCursor(s string) (lastSeen int64, key store.HostKey, err error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) == 0 || b[0] != cursorHosts {
		return 0, key, errCursor
	}
	b = b[1:]
	lastSeen, size := binary.Varint(b)
	if size <= 0 {
		return 0, key, errCursor
	}
	b = b[size:]
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return 0, key, errCursor
	}
	b = b[size:]
	return lastSeen, store.HostKey{Name: string(b[:n]), AgentID: string(b[n:])}, nil
}
