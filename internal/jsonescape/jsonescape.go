// Package jsonescape decodes and encodes the escapes of JSON strings.
package jsonescape

import (
	"unicode/utf16"
	"unicode/utf8"
)

// ShortEscapes is what the escapes of one letter stand for, by the letter; 0 for none.
var ShortEscapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// Decode decodes the JSON escape at the start of s and returns its character
// and its length, which is 0 if s does not start with a valid escape. Half of a
// surrogate pair is U+FFFD, as in encoding/json.
func Decode[S string | []byte](s S) (r rune, escapeBytes int) {
	if len(s) < 2 || s[0] != '\\' {
		return 0, 0
	}
	if c := ShortEscapes[s[1]]; c != 0 {
		return rune(c), 2
	}
	if s[1] != 'u' {
		return 0, 0
	}
	if r = parseHex4(s[2:]); r < 0 {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if len(s) >= 12 && s[6] == '\\' && s[7] == 'u' {
		if full := utf16.DecodeRune(r, parseHex4(s[8:])); full != utf8.RuneError {
			return full, 12
		}
	}
	return utf8.RuneError, 6
}

// parseHex4 returns the number that the first four hex digits of s are, or -1.
func parseHex4[S string | []byte](s S) (r rune) {
	if len(s) < 4 {
		return -1
	}
	for i := range 4 {
		c := s[i]
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// AppendASCII appends s as a JSON string in the bytes that Python's json.dumps writes:
// what is not ASCII is escaped, and invalid UTF-8 becomes U+FFFD.
func AppendASCII(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0 // of the part to copy unchanged
	for i := 0; i < len(s); {
		c := s[i]
		if ' ' <= c && c <= '~' && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		start = i
		dst = appendEscape(dst, r)
	}
	return append(append(dst, s[start:]...), '"')
}

func appendEscape(dst []byte, r rune) []byte {
	switch r {
	case '"', '\\':
		return append(dst, '\\', byte(r))
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	}
	if r > 0xffff {
		high, low := utf16.EncodeRune(r)
		dst, r = appendHexEscape(dst, high), low
	}
	return appendHexEscape(dst, r)
}

func appendHexEscape(dst []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}
