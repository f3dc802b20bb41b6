// Package casefold folds the case of strings: two strings are equal without
// regard to case exactly if they are equal after folding, and likewise for
// substrings.
//
// Folding is Unicode's simple case folding, the relation of strings.EqualFold:
// every rune becomes one representative of the runes that differ from it only
// by case, which is in lower case for ASCII. So K (U+212A) folds to k and ſ to
// s; Σ, σ and ς become one rune; ß and ẞ become one, but not ss; İ folds to
// itself. Bytes that are not UTF-8 stay as they are.
package casefold

import (
	"encoding/binary"
	"slices"
	"unicode"
	"unicode/utf8"
	"unsafe"

	"github.com/picket-edr/picket/sigma/internal/word"
)

// Append appends s, folded, to dst, and reports whether all of s is ASCII.
func Append(dst []byte, s string) (folded []byte, ascii bool) {
	from := len(dst)
	dst = slices.Grow(dst, len(s))
	b := dst[from : from+len(s)]
	i := 0
	for i+8 <= len(s) {
		w := word.Load64(s[i : i+8])
		if w&highBitOfEachByte != 0 {
			return appendFoldRunes(dst[:from+i], s[i:]), false
		}
		binary.LittleEndian.PutUint64(b[i:], lowerEightASCIIBytes(w))
		if i += 8; i < len(s) && i+8 > len(s) {
			i = len(s) - 8 // the last word overlaps the one before
		}
	}
	for ; i < len(s); i++ {
		c := s[i]
		if c >= utf8.RuneSelf {
			return appendFoldRunes(dst[:from+i], s[i:]), false
		}
		b[i] = LowerASCII(c)
	}
	return dst[:from+len(s)], true
}

// AppendBytes is Append for bytes, which must not overlap the rest of dst.
func AppendBytes(dst, b []byte) (folded []byte, ascii bool) {
	return Append(dst, unsafe.String(unsafe.SliceData(b), len(b))) // which does not keep the string
}

// appendFoldRunes does not call Append: with a recursion, callers' buffers on the
// stack would escape to the heap.
func appendFoldRunes(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		for i+8 <= len(s) {
			w := word.Load64(s[i : i+8])
			if w&highBitOfEachByte != 0 {
				break
			}
			dst = binary.LittleEndian.AppendUint64(dst, lowerEightASCIIBytes(w))
			i += 8
		}
		if i == len(s) {
			break
		}
		if c := s[i]; c < utf8.RuneSelf {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			dst = append(dst, c)
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, s[i])
		} else {
			dst = utf8.AppendRune(dst, Rune(r))
		}
		i += n
	}
	return dst
}

const (
	oneInEachByte     = 0x0101010101010101
	highBitOfEachByte = 0x8080808080808080
)

// lowerEightASCIIBytes returns eight ASCII bytes in lower case.
func lowerEightASCIIBytes(word uint64) uint64 {
	// The high bit of each byte of upper is set where 'A' <= byte <= 'Z'.
	upper := (word + (0x80-'A')*oneInEachByte) &^ (word + (0x80-'Z'-1)*oneInEachByte) & highBitOfEachByte
	return word | upper>>2
}

// Rune returns the representative of r: the least of the runes that differ from
// it only by case, in lower case if it is ASCII.
func Rune(r rune) rune {
	if 0x80 <= r && r <= 0xFF { // Latin-1 needs no search
		if 0xE0 <= r && r <= 0xFE && r != 0xF7 {
			r -= 0x20
		}
		return r
	}
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	if 'A' <= least && least <= 'Z' {
		least += 'a' - 'A'
	}
	return least
}

// String returns s folded.
func String(s string) string {
	b, _ := Append(nil, s)
	return string(b)
}

// IsASCII reports whether all bytes of s are ASCII.
func IsASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// EqualASCII reports whether a and b are equal without regard to the case
// of ASCII letters.
func EqualASCII(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if LowerASCII(a[i]) != LowerASCII(b[i]) {
			return false
		}
	}
	return true
}

// LowerASCII returns c in lower case if it is an ASCII letter.
func LowerASCII(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
