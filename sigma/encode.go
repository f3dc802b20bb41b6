package sigma

import (
	"encoding/base64"
	"unicode/utf16"
)

// base64Offsets returns what s looks like inside the base64 of a longer text,
// for the three ways in which it can fall into groups of three bytes: only the
// characters that depend on nothing but s.
func base64Offsets(s string) []pattern {
	var out []pattern
	for offset := range 3 {
		enc := base64.RawStdEncoding.EncodeToString([]byte("   "[:offset] + s))
		first := []int{0, 2, 3}[offset]
		last := (offset + len(s)) * 8 / 6
		if first < last {
			out = append(out, pattern{{literal, enc[first:last]}})
		}
	}
	return out
}

func utf16Bytes(s string, bigEndian bool) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		if bigEndian {
			b = append(b, byte(u>>8), byte(u))
		} else {
			b = append(b, byte(u), byte(u>>8))
		}
	}
	return string(b)
}
