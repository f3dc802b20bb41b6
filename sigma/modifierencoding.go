package sigma

import (
	"encoding/base64"
	"unicode/utf16"

	"github.com/picket-edr/picket/sigma/internal/pattern"
)

// base64OffsetPatterns returns what the base64 encoding of any text that contains s
// has in common, for each of the three offsets at which s may start in a group
// of three bytes: the characters that depend on s alone.
func base64OffsetPatterns(s string) []pattern.Pattern {
	var out []pattern.Pattern
	for offset := range 3 {
		enc := base64.RawStdEncoding.EncodeToString([]byte("   "[:offset] + s))
		first := []int{0, 2, 3}[offset]
		last := (offset + len(s)) * 8 / 6
		if first < last {
			out = append(out, pattern.FromLiteral(enc[first:last]))
		}
	}
	return out
}

func encodeUTF16(s string, bigEndian bool) string {
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
