package celery

import (
	"bytes"
	"regexp"
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
		return i + len("NaN"), []byte(`"NaN"`)
	case c == 'I':
		return i + len("Infinity"), []byte(`"Infinity"`)
	case c == '-' && src[i+1] == 'I':
		return i + len("-Infinity"), []byte(`"-Infinity"`)
	}
	return i + 1, nil
}

// typedValue matches a typed value as kombu writes it, and captures a string in quotes
// or the five parts of a uuid.
var typedValue = regexp.MustCompile(`^\{"__type__": *"(?:(?:datetime|date|time|decimal|bytes|base64)", *"__value__": *("(?:[^"\\]|\\.)*")` +
	`|uuid", *"__value__": *\{"hex": *"([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})"\})\}`)

// normalizeTypedValue returns the end of the typed value at i and its plain value or,
// if there is none, the index after the brace and nil.
func normalizeTypedValue(src []byte, i int) (end int, replacement []byte) {
	if !bytes.HasPrefix(src[i:], []byte(`{"__type__"`)) {
		return i + 1, nil
	}
	m := typedValue.FindSubmatch(src[i:])
	if m == nil {
		return i + 1, nil
	}
	end = i + len(m[0])
	if m[1] != nil {
		return end, m[1]
	}
	uuid := append([]byte{'"'}, bytes.Join(m[2:], []byte{'-'})...)
	return end, append(uuid, '"')
}
