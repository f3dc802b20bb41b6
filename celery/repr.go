package celery

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Repr returns Python's repr of a string, in the quotes that Python would choose.
func Repr(s string) string {
	quote := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	dst := append(make([]byte, 0, len(s)+2), quote)
	for _, c := range s {
		dst = appendReprRune(dst, c, quote)
	}
	return string(append(dst, quote))
}

// appendReprRune appends a character of a string, escaped if Python would.
func appendReprRune(dst []byte, c rune, quote byte) []byte {
	const hex = "0123456789abcdef"
	switch {
	case c == rune(quote) || c == '\\':
		return append(dst, '\\', byte(c))
	case c == '\n':
		return append(dst, '\\', 'n')
	case c == '\r':
		return append(dst, '\\', 'r')
	case c == '\t':
		return append(dst, '\\', 't')
	case unicode.IsPrint(c):
		return utf8.AppendRune(dst, c)
	case c <= 0xff:
		return append(dst, '\\', 'x', hex[c>>4], hex[c&15])
	case c <= 0xffff:
		return appendUnicodeEscape(dst, c)
	}
	dst = append(dst, '\\', 'U', '0', '0', hex[c>>20&15], hex[c>>16&15])
	return append(dst, hex[c>>12&15], hex[c>>8&15], hex[c>>4&15], hex[c&15])
}
