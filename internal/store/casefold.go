package store

import (
	"encoding/binary"
	"unicode"
	"unicode/utf8"
)

// AppendFold appends s to dst in the form in which text is compared without
// case: each character becomes one representative of all that Unicode's simple
// case folding makes equal, a small letter for those of ASCII. Equal without
// case means equal bytes after folding, and the same for substrings.
func AppendFold[T string | []byte](dst []byte, s T) []byte {
	for i := 0; i < len(s); {
		if s[i] < utf8.RuneSelf {
			at := len(dst)
			// No more than a piece is copied ahead of what may stop it.
			dst = append(dst, s[i:min(i+512, len(s))]...)
			n := lowerASCIIPrefix(dst[at:])
			dst = dst[:at+n]
			i += n
			continue
		}
		r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, s[i]) // not UTF-8: the byte stands for itself
		} else {
			dst = utf8.AppendRune(dst, foldRune(r))
		}
		i += n
	}
	return dst
}

// lowerASCIIPrefix makes the capital letters of ASCII small, eight bytes at a time, up to
// the first byte beyond ASCII. It returns where that is.
func lowerASCIIPrefix(b []byte) int {
	const ones = 0x0101010101010101
	i := 0
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		if w&(ones*0x80) != 0 {
			break
		}
		// The high bit of each byte that is at least 'A' and not past 'Z'.
		upper := (w + ones*(0x80-'A')) &^ (w + ones*(0x80-'Z'-1)) & (ones * 0x80)
		binary.LittleEndian.PutUint64(b[i:], w|upper>>2)
	}
	for ; i < len(b) && b[i] < utf8.RuneSelf; i++ {
		if b[i]-'A' < 26 {
			b[i] |= 0x20
		}
	}
	return i
}

func foldRune(r rune) rune {
	if r < utf8.RuneSelf && !('A' <= r && r <= 'Z' || 'a' <= r && r <= 'z') {
		return r
	}
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	if 'A' <= least && least <= 'Z' {
		least |= 0x20
	}
	return least
}

// Fold returns s folded by AppendFold.
func Fold(s string) string { return string(AppendFold(nil, s)) }
