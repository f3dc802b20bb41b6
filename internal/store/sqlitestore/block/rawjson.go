package block

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// isByteSearchable reports whether a search through the bytes of JSON misses nothing: there
// are no escapes other than the short ones, and neither of the two characters outside ASCII
// that fold to ASCII letters.
func isByteSearchable(raw []byte) bool {
	return !hasEscape(raw, 'u') && !hasEscape(raw, '/') &&
		!bytes.Contains(raw, []byte("\u212a")) && !bytes.Contains(raw, []byte("\u017f"))
}

func hasEscape(raw []byte, c byte) bool {
	pair := []byte{'\\', c}
	for at := 0; ; {
		i := bytes.Index(raw[at:], pair)
		if i < 0 {
			return false
		}
		at += i
		if !endsInEscape(raw[:at]) {
			return true
		}
		at += 2
	}
}

// endsInEscape reports whether the character after b is the second half of an
// escape that begins in b.
func endsInEscape(b []byte) bool {
	n := 0
	for n < len(b) && b[len(b)-1-n] == '\\' {
		n++
	}
	return n%2 != 0
}

// mayHaveEmptyContainer reports whether JSON may have an object or array that is
// empty. Its name is the path of no leaf.
func mayHaveEmptyContainer(raw []byte) bool {
	for _, pair := range []string{"{}", "[]"} {
		for at := 0; ; {
			i := bytes.IndexByte(raw[at:], pair[0])
			if i < 0 {
				break
			}
			at += i + 1
			rest := bytes.TrimLeft(raw[at:], " \t\r\n")
			if len(rest) > 0 && rest[0] == pair[1] {
				return true
			}
		}
	}
	return false
}

// appendLowerASCII appends s with ASCII letters in lower case, eight bytes at a
// time.
func appendLowerASCII(dst, s []byte) []byte {
	const ones = 0x0101010101010101
	at := len(dst)
	dst = slices.Grow(dst, len(s))[:at+len(s)]
	b := dst[at:]
	for ; len(s) >= 8 && len(b) >= 8; s, b = s[8:], b[8:] {
		w := binary.LittleEndian.Uint64(s)
		low := w &^ (ones * 0x80)
		// The high bit of each byte that is between 'A' and 'Z'.
		upper := (low + ones*(0x80-'A')) &^ (low + ones*(0x80-'Z'-1)) &^ w & (ones * 0x80)
		binary.LittleEndian.PutUint64(b, w|upper>>2)
	}
	for i, c := range s {
		if c-'A' < 26 {
			c |= 0x20
		}
		b[i] = c
	}
	return dst
}
