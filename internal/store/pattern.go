package store

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/picket-edr/picket/sigma/casefold"
)

// A Pattern matches a whole value in any case. Its wildcards are * for any text and
// ? for any one character. They cannot be escaped; a regular expression can match
// them. With a ?, which can take the square of a value's length to search for, it
// sees no more of a value than MaxRegexpInputBytes.
type Pattern struct {
	text   string
	pieces [][]byte // between the stars, folded
	cut    bool     // it has a ?
}

// NewPattern returns the pattern that is written as text.
func NewPattern(text string) Pattern {
	return Pattern{text: text, pieces: bytes.Split([]byte(casefold.String(text)), []byte("*")), cut: strings.Contains(text, "?")}
}

// String returns the pattern as written.
func (p Pattern) String() string { return p.text }

// Match reports whether all of s matches.
func (p Pattern) Match(s string) bool {
	if p.cut {
		s = truncateForRegexp(s)
	}
	var stack [256]byte
	f, _ := casefold.Append(stack[:0], s)
	if len(p.pieces) == 1 {
		n, ok := hasPiecePrefix(f, p.pieces[0])
		return ok && n == len(f)
	}
	n, ok := hasPiecePrefix(f, p.pieces[0])
	if !ok {
		return false
	}
	f = f[n:]
	last := len(p.pieces) - 1
	for _, piece := range p.pieces[1:last] {
		if n = indexOfPiece(f, piece); n < 0 {
			return false
		}
		f = f[n:]
	}
	return hasPieceSuffix(f, p.pieces[last])
}

// hasPiecePrefix reports whether s starts with the piece, and how many bytes that takes.
func hasPiecePrefix(s []byte, piece []byte) (int, bool) {
	at := 0
	for i := 0; i < len(piece); i++ {
		switch {
		case at == len(s):
			return 0, false
		case piece[i] == '?':
			_, n := utf8.DecodeRune(s[at:])
			at += n
		case piece[i] != s[at]:
			return 0, false
		default:
			at++
		}
	}
	return at, true
}

// indexOfPiece returns where the first occurrence of the piece in s ends, or -1.
func indexOfPiece(s []byte, piece []byte) int {
	if bytes.IndexByte(piece, '?') < 0 {
		if i := bytes.Index(s, piece); i >= 0 {
			return i + len(piece)
		}
		return -1
	}
	for at := 0; at <= len(s); at++ {
		if at < len(s) && !utf8.RuneStart(s[at]) {
			continue
		}
		if n, ok := hasPiecePrefix(s[at:], piece); ok {
			return at + n
		}
	}
	return -1
}

func hasPieceSuffix(s []byte, piece []byte) bool {
	at := len(s)
	for i := len(piece); i > 0; i-- {
		switch {
		case at == 0:
			return false
		case piece[i-1] == '?':
			_, n := utf8.DecodeLastRune(s[:at])
			at -= n
		case piece[i-1] != s[at-1]:
			return false
		default:
			at--
		}
	}
	return true
}

// Literals returns texts that every matching value contains, folded.
func (p Pattern) Literals() []string {
	var out []string
	for _, piece := range p.pieces {
		for _, lit := range strings.Split(string(piece), "?") {
			if lit != "" {
				out = append(out, lit)
			}
		}
	}
	return out
}
