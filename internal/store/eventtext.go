package store

import (
	"bytes"
	"unicode/utf8"

	"github.com/picket-edr/picket/internal/jsonescape"
)

// AppendEventText appends the text of an event to dst, in which the bare words of a
// query are searched for: raw with names and punctuation, and with the escapes of
// JSON strings decoded. Half of a surrogate pair becomes U+FFFD; an invalid escape
// is left as it is.
func AppendEventText(dst, raw []byte) []byte {
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return append(dst, raw...)
		}
		dst = append(dst, raw[:i]...)
		raw = raw[i:]
		r, n := jsonescape.Decode(raw)
		if n == 0 {
			dst = append(dst, '\\')
			raw = raw[1:]
			continue
		}
		dst = utf8.AppendRune(dst, r)
		raw = raw[n:]
	}
}
