package celery

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Python's JSON is not encoding/json's: it may contain NaN, Infinity and -Infinity.
// This file processes it without building a tree: a value is the bytes in which it was
// written. jsonscan.go finds the ends of values.

var errNotArray, errNotObject = errors.New("not a JSON array"), errors.New("not a JSON object")

func errNotJSON(at int) error { return fmt.Errorf("not JSON at byte %d", ^at) }

// checkJSON returns an error unless b is one JSON value, NaN and the like included,
// with only white space around it.
func checkJSON(b []byte) error {
	if err := isUTF8(b); err != nil {
		return err
	}
	return atEnd(b, skipValue(b, skipSpace(b, 0), 0))
}

func isUTF8(b []byte) error {
	if !utf8.Valid(b) {
		return errors.New("not UTF-8")
	}
	return nil
}

// atEnd returns the error of a value that ended at i, after which only white space may
// follow.
func atEnd(b []byte, i int) error {
	if i < 0 {
		return errNotJSON(i)
	}
	if i = skipSpace(b, i); i < len(b) {
		return errNotJSON(^i)
	}
	return nil
}

// members calls each for the members of an object, in order. Keys have no quotes;
// values are as written.
func members(b []byte, each func(key, value []byte)) error {
	i := skipSpace(b, 0)
	if i == len(b) || b[i] != '{' {
		return errNotObject
	}
	return atEnd(b, skipObject(b, i, 0, each))
}

// elements calls each for the elements of an array, in order.
func elements(b []byte, each func(value []byte)) error {
	i := skipSpace(b, 0)
	if i == len(b) || b[i] != '[' {
		return errNotArray
	}
	return atEnd(b, skipArray(b, i, 0, each))
}

// member returns the last member of an object with a name, nil if there is none.
func member(object []byte, name string) (value []byte) {
	_ = members(object, func(key, v []byte) {
		if string(key) == name {
			value = v
		}
	})
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
	for i := 0; i < len(inner); i++ {
		if inner[i] != '\\' {
			dst = append(dst, inner[i])
			continue
		}
		i++
		switch c := inner[i]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, _ := hex4(inner, i+1)
			i += 4
			if utf16.IsSurrogate(r) {
				low, ok := rune(0), false
				if i+2 < len(inner) && inner[i+1] == '\\' && inner[i+2] == 'u' {
					low, ok = hex4(inner, i+3)
				}
				if r = utf16.DecodeRune(r, low); ok && r != utf8.RuneError {
					i += 6
				}
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// text returns a value as a string: the content of a string, "" for null, and anything
// else as written.
func text(value []byte) string {
	switch {
	case len(value) > 0 && value[0] == '"':
		return string(unquoted(value))
	case isNull(value):
		return ""
	}
	return string(value)
}

func isNull(value []byte) bool { return string(value) == "null" }

// number returns a value as a number; ok is false if it is not one.
func number(value []byte) (n float64, ok bool) {
	n, err := strconv.ParseFloat(string(value), 64)
	return n, err == nil
}

// integer returns a value as an integer (2.0 is 2), or otherwise if it is not a number.
func integer(value []byte, otherwise int) int {
	if n, err := strconv.Atoi(string(value)); err == nil {
		return n
	}
	if n, ok := number(value); ok && n > -1<<53 && n < 1<<53 {
		return int(n)
	}
	return otherwise
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
		dst = appendSpecial(dst, r)
	}
	return append(append(dst, s[start:]...), '"')
}

func appendSpecial(dst []byte, r rune) []byte {
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
		dst, r = appendEscape(dst, high), low
	}
	return appendEscape(dst, r)
}

func appendEscape(dst []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}

// appendText appends a string, null if it is empty.
func appendText(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return appendString(dst, s)
}

// appendRaw appends a value as written, or otherwise if there is none.
func appendRaw(dst, value []byte, otherwise string) []byte {
	if len(value) == 0 {
		return append(dst, otherwise...)
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
