package celery

import (
	"bytes"
	"encoding/hex"
)

// NormalizeJSON converts JSON as Python writes it to standard JSON. NaN, Infinity and
// -Infinity become strings, so that nothing is lost. kombu's typed values become plain
// values: the string in {"__type__": "datetime", "__value__": "2026-…"}, also for a
// date, time, decimal, bytes or base64, and the text with dashes of a uuid. The rest is
// unchanged byte for byte.
//
// If nothing changes, the result is src itself; otherwise it is in the memory of dst,
// which is overwritten and may be nil. The error says where src is not JSON or is
// nested too deeply.
//
// Source: kombu/utils/json.py.
func NormalizeJSON(dst, src []byte) ([]byte, error) {
	if err := checkJSON(src); err != nil {
		return nil, err
	}
	if !bytes.Contains(src, []byte("NaN")) && !bytes.Contains(src, []byte("Infinity")) && !bytes.Contains(src, []byte(`"__`)) {
		return src, nil
	}
	dst = dst[:0]
	copied := 0 // how much of src is in dst
	for i := 0; i < len(src); {
		end, replacement := normalizeToken(src, i)
		if replacement != nil {
			dst = append(append(dst, src[copied:i]...), replacement...)
			copied = end
		}
		i = end
	}
	if copied == 0 {
		return src, nil
	}
	return append(dst, src[copied:]...), nil
}

// normalizeToken returns the end of what begins at i in valid JSON, which is a typed
// value or a single token, and what replaces it, nil if it stays.
func normalizeToken(src []byte, i int) (end int, replacement []byte) {
	switch c := src[i]; {
	case c == '"':
		return skipString(src, i), nil
	case c == '{':
		return normalizeTypedValue(src, i)
	case c == 'N':
		return i + len("NaN"), quotedNaN
	case c == 'I':
		return i + len("Infinity"), quotedInfinity
	case c == '-' && src[i+1] == 'I':
		return i + len("-Infinity"), quotedMinusInfinity
	}
	return i + 1, nil
}

var quotedNaN, quotedInfinity, quotedMinusInfinity = []byte(`"NaN"`), []byte(`"Infinity"`), []byte(`"-Infinity"`)

// normalizeTypedValue returns the end of the typed value at i and its plain value or,
// if there is none, the index after the brace and nil. Its members must be in kombu's order.
func normalizeTypedValue(src []byte, i int) (end int, replacement []byte) {
	none := i + 1
	kind, i := readStringMember(src, i+1, `"__type__"`)
	if kind == nil || src[i] != ',' {
		return none, nil
	}
	value, i := readStringMember(src, i+1, `"__value__"`)
	switch string(kind) {
	case `"datetime"`, `"date"`, `"time"`, `"decimal"`, `"bytes"`, `"base64"`:
	case `"uuid"`:
		if value == nil && src[i] == '{' {
			if value, i = readStringMember(src, i+1, `"hex"`); value == nil || src[i] != '}' {
				return none, nil
			}
			value, i = quotedUUID(value), skipSpace(src, i+1)
		}
	default:
		return none, nil
	}
	if value == nil || src[i] != '}' {
		return none, nil
	}
	return i + 1, value
}

// readStringMember returns the string, in quotes, that is the value of the member at i, and
// the index of what follows it. If the member has another name or value, the string is
// nil and the index that of the member or the value.
func readStringMember(src []byte, i int, name string) (quoted []byte, next int) {
	i = skipSpace(src, i)
	if !bytes.HasPrefix(src[i:], []byte(name)) {
		return nil, i
	}
	start := skipSpace(src, skipSpace(src, i+len(name))+1) // after the colon
	if src[start] != '"' {
		return nil, start
	}
	end := skipString(src, start)
	return src[start:end], skipSpace(src, end)
}

// quotedUUID returns a UUID with dashes from its quoted digits, nil if they are malformed.
func quotedUUID(quotedHex []byte) []byte {
	var id [16]byte
	if len(quotedHex) != 34 {
		return nil
	}
	if _, err := hex.Decode(id[:], quotedHex[1:33]); err != nil {
		return nil
	}
	return append(appendUUID([]byte{'"'}, id), '"')
}
