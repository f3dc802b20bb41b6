package store

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/picket-edr/picket"
)

// The lists that have cursors. A cursor is valid for its list only.
const (
	EventCursor = 'e'
	AlertCursor = 'a'
	MatchCursor = 'm'
	HostCursor  = 'h'
)

// A Cursor is where a page of a list ended: the values by which the list is ordered.
// What a list or an engine does not need is zero.
type Cursor struct {
	List byte
	A, B int64
	Name string
}

// cursorPattern is a cursor as text: the list, A and B in 16 hexadecimal digits each, and
// the bytes of Name in two each. Every text of this form is a cursor, so that the API can
// describe them.
var cursorPattern = regexp.MustCompile(`^[a-z][0-9a-f]{32}(?:[0-9a-f]{2})*$`)

// String returns the cursor as text.
func (c Cursor) String() string {
	return fmt.Sprintf("%c%016x%016x%x", c.List, uint64(c.A), uint64(c.B), c.Name)
}

// ParseCursor reads the text of a cursor of a list. It is picket.ErrInvalid if it is the
// cursor of another list or none at all.
func ParseCursor(list byte, text string) (Cursor, error) {
	if !cursorPattern.MatchString(text) || text[0] != list {
		return Cursor{}, fmt.Errorf("the cursor is of another list or damaged: %w", picket.ErrInvalid)
	}
	a, _ := strconv.ParseUint(text[1:17], 16, 64) // the pattern has made sure that they are
	b, _ := strconv.ParseUint(text[17:33], 16, 64)
	name, _ := hex.DecodeString(text[33:])
	return Cursor{List: list, A: int64(a), B: int64(b), Name: strings.ToValidUTF8(string(name), "\uFFFD")}, nil
}
