package store

import (
	"unicode"
	"unicode/utf8"
)

// AppendFold appends s to dst in the form in which text is compared without
// case: each character becomes one representative of all that Unicode's simple
// case folding makes equal, a small letter for those of ASCII. Equal without
// case means equal bytes after folding, and the same for substrings.
func AppendFold[T string | []byte](dst []byte, s T) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'A' <= c && c <= 'Z':
			dst = append(dst, c|0x20)
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			return appendFoldRunes(dst, string(s[i:]))
		}
	}
	return dst
}

func appendFoldRunes(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, s[i]) // not UTF-8: the byte stands for itself
		} else {
			dst = utf8.AppendRune(dst, foldRune(r))
		}
		i += n
	}
	return dst
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
