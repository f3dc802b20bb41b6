package sigma

import (
	"encoding/binary"
	"slices"
	"unicode"
	"unicode/utf8"
)

// Strings are compared without case by folding both sides with the functions
// of this file, in the index and in the evaluator alike. Folding is Unicode's
// simple case folding, the relation of strings.EqualFold: every rune becomes
// one representative of the runes that differ from it only by case. So K
// (U+212A) folds to k and ſ to s, Σ, σ and ς are one, and ß folds to itself
// and ẞ, never to ss; İ folds to itself. Bytes that aren't UTF-8 stay as they
// are.

// appendFold appends the folded s to dst and reports whether all of s is ASCII.
func appendFold(dst []byte, s string) (_ []byte, ascii bool) {
	const (
		ones = 0x0101010101010101
		high = 0x8080808080808080
	)
	from := len(dst)
	dst = slices.Grow(dst, len(s))
	b := dst[from : from+len(s)]
	i := 0
	for i+8 <= len(s) {
		w := load64(s[i : i+8])
		if w&high != 0 {
			return appendFoldRunes(dst[:from+i], s[i:]), false
		}
		// The high bit of each byte of upper is set where 'A' <= byte <= 'Z'.
		upper := (w + (0x80-'A')*ones) &^ (w + (0x80-'Z'-1)*ones) & high
		binary.LittleEndian.PutUint64(b[i:], w|upper>>2)
		if i += 8; i < len(s) && i+8 > len(s) {
			i = len(s) - 8 // the last eight once more, in part
		}
	}
	for ; i < len(s); i++ {
		c := s[i]
		if c >= utf8.RuneSelf {
			return appendFoldRunes(dst[:from+i], s[i:]), false
		}
		b[i] = lowerASCII(c)
	}
	return dst[:from+len(s)], true
}

// load64 reads the first eight bytes of s, which the compiler does at once.
func load64(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func appendFoldRunes(dst []byte, s string) []byte {
	const high = 0x8080808080808080
	for i := 0; i < len(s); {
		for i+8 <= len(s) && load64(s[i:i+8])&high == 0 {
			dst, _ = appendFold(dst, s[i:i+8])
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
			dst = utf8.AppendRune(dst, foldRune(r))
		}
		i += n
	}
	return dst
}

// foldRune returns the least rune that r can be folded to, in lower case if it
// is ASCII.
func foldRune(r rune) rune {
	if 0x80 <= r && r <= 0xFF { // Latin-1, done without a search
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

// fold returns s folded.
func fold(s string) string {
	b, _ := appendFold(nil, s)
	return string(b)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func equalASCIIFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lowerASCII(a[i]) != lowerASCII(b[i]) {
			return false
		}
	}
	return true
}

func lowerASCII(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
