package celery

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/picket-edr/picket/internal/jsonescape"
)

// Python's JSON is not encoding/json's: it may contain NaN, Infinity and -Infinity.
// This file processes it without building a tree: a value is the bytes in which it was
// written. jsonscan.go finds the ends of values.

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
	if end >= 0 {
		if end = skipSpace(b, end); end == len(b) {
			return nil
		}
		end = ^end
	}
	return fmt.Errorf("not JSON at byte %d", ^end)
}

// eachMember calls each for the members of an object, in order. Keys have no quotes;
// values are as written.
func eachMember(b []byte, each func(key, value []byte)) error {
	i := skipSpace(b, 0)
	if i == len(b) || b[i] != '{' {
		return errors.New("not a JSON object")
	}
	return checkEndsAt(b, skipContainer(b, i, 0, each))
}

// eachElement calls each for the elements of an array, in order.
func eachElement(b []byte, each func(value []byte)) error {
	i := skipSpace(b, 0)
	if i == len(b) || b[i] != '[' {
		return errors.New("not a JSON array")
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
