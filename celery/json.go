package celery

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/picket-edr/picket/internal/jsonescape"
)

// Python's JSON is not encoding/json's: it may contain NaN, Infinity and -Infinity.
// This file processes it without building a tree: a value is the bytes in which it was
// written. jsonscan.go finds the ends of values.

var errNotArray, errNotObject = errors.New("not a JSON array"), errors.New("not a JSON object")

func notJSONError(invertedIndex int) error { return fmt.Errorf("not JSON at byte %d", ^invertedIndex) }

// checkJSON returns an error unless b is one JSON value, NaN and the like included,
// with only white space around it.
func checkJSON(b []byte) error {
	if err := checkUTF8(b); err != nil {
		return err
	}
	return checkEndsAt(b, skipValue(b, skipSpace(b, 0), 0))
}

func checkUTF8(b []byte) error {
	if !utf8.Valid(b) {
		return errors.New("not UTF-8")
	}
	return nil
}

// checkEndsAt returns the error of a value that ended at end, after which only white
// space may follow.
func checkEndsAt(b []byte, end int) error {
	if end < 0 {
		return notJSONError(end)
	}
	if end = skipSpace(b, end); end < len(b) {
		return notJSONError(^end)
	}
	return nil
}

// eachMember calls each for the members of an object, in order. Keys have no quotes;
// values are as written.
func eachMember(b []byte, each func(key, value []byte)) error {
	i := skipSpace(b, 0)
	if i == len(b) || b[i] != '{' {
		return errNotObject
	}
	return checkEndsAt(b, skipContainer(b, i, 0, each))
}

// eachElement calls each for the elements of an array, in order.
func eachElement(b []byte, each func(value []byte)) error {
	i := skipSpace(b, 0)
	if i == len(b) || b[i] != '[' {
		return errNotArray
	}
	return checkEndsAt(b, skipContainer(b, i, 0, func(_, value []byte) { each(value) }))
}

// member returns the last member of an object with a name, nil if there is none.
func member(object []byte, name string) (value []byte) {
	err := eachMember(object, func(key, v []byte) {
		if string(key) == name {
			value = v
		}
	})
	if err != nil {
		return nil
	}
	return value
}

// unquoted returns the content of a quoted string. It is part of quoted if there are no
// escapes.
func unquoted(quoted []byte) []byte {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	return appendUnquoted(make([]byte, 0, len(inner)), inner)
}

func appendUnquoted(dst, inner []byte) []byte {
	for len(inner) > 0 {
		if inner[0] != '\\' {
			dst, inner = append(dst, inner[0]), inner[1:]
			continue
		}
		r, n := jsonescape.Decode(inner)
		dst, inner = utf8.AppendRune(dst, r), inner[n:]
	}
	return dst
}

// valueText returns a value as a string: the content of a string, "" for null, and
// anything else as written.
func valueText(value []byte) string {
	switch {
	case len(value) > 0 && value[0] == '"':
		return string(unquoted(value))
	case isNull(value):
		return ""
	}
	return string(value)
}

func isNull(value []byte) bool { return string(value) == "null" }

// integerOr returns a value as an integer, or fallback if it is not one.
func integerOr(value []byte, fallback int) int {
	if n, err := strconv.Atoi(string(value)); err == nil {
		return n
	}
	return fallback
}

// appendString appends s as Python's json.dumps writes it, in ASCII.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0 // of the part to copy unchanged
	for i := 0; i < len(s); {
		c := s[i]
		if ' ' <= c && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		start = i
		dst = appendEscaped(dst, r)
	}
	return append(append(dst, s[start:]...), '"')
}

func appendEscaped(dst []byte, r rune) []byte {
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
		dst, r = appendUnicodeEscape(dst, high), low
	}
	return appendUnicodeEscape(dst, r)
}

func appendUnicodeEscape(dst []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}

// appendStringOrNull appends a string, null if it is empty.
func appendStringOrNull(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return appendString(dst, s)
}

// appendRawOr appends a value as written, or fallback if there is none.
func appendRawOr(dst, value []byte, fallback string) []byte {
	if len(value) == 0 {
		return append(dst, fallback...)
	}
	return append(dst, value...)
}

// appendFloat appends f as Python's repr writes it: 2.0, 1e+20.
func appendFloat(dst []byte, f float64) []byte {
	format := byte('f')
	if abs := max(f, -f); abs != 0 && (abs < 1e-4 || abs >= 1e16) {
		format = 'e'
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, format, -1, 64)
	if format == 'f' && bytes.IndexByte(dst[start:], '.') < 0 {
		dst = append(dst, ".0"...)
	}
	return dst
}
