package celery

import (
	"bytes"
	"encoding/hex"
)

// NormalizeJSON is src, JSON as Python writes it, as JSON that every reader takes. NaN,
// Infinity and -Infinity become these words as strings, so that nothing is lost,
// and kombu's typed values their plain value: {"__type__": "datetime",
// "__value__": "2026-…"} the string within, of a date, time, decimal, bytes or
// base64 too, and a uuid its text with dashes. All else is byte for byte.
//
// If nothing changes, the result is src itself; otherwise it is in the memory of
// dst, which is overwritten from its start and may be nil. The error says where
// src isn't JSON, or nested too deeply.
//
// Source: kombu/utils/json.py.
func NormalizeJSON(dst, src []byte) ([]byte, error) {
	if err := isJSON(src); err != nil {
		return nil, err
	}
	if !bytes.Contains(src, []byte("NaN")) && !bytes.Contains(src, []byte("Infinity")) && !bytes.Contains(src, []byte(`"__`)) {
		return src, nil
	}
	p := normalizer{dst: dst[:0], b: src}
	p.value(skipSpace(src, 0))
	if p.copied == 0 {
		return src, nil
	}
	return append(p.dst, src[p.copied:]...), nil
}

// A normalizer goes over JSON that is known to be well-formed.
type normalizer struct {
	dst, b []byte
	copied int // up to where b is in dst
}

// replace writes b[start:end] as something else.
func (p *normalizer) replace(start, end int, with ...[]byte) {
	p.dst = append(p.dst, p.b[p.copied:start]...)
	for _, w := range with {
		p.dst = append(p.dst, w...)
	}
	p.copied = end
}

func (p *normalizer) value(i int) int {
	switch c := p.b[i]; c {
	case '{':
		if end, value := typedValueAt(p.b, i); value != nil {
			p.replace(i, end, value)
			return end
		}
		return p.members(i)
	case '[':
		for i = skipSpace(p.b, i+1); p.b[i] != ']'; {
			if i = skipSpace(p.b, p.value(i)); p.b[i] == ',' {
				i = skipSpace(p.b, i+1)
			}
		}
		return i + 1
	case 'N', 'I', '-':
		end := skipValue(p.b, i, 0)
		if word := p.b[i:end]; c != '-' || word[1] == 'I' {
			p.replace(i, end, []byte(`"`), word, []byte(`"`))
		}
		return end
	}
	return skipValue(p.b, i, 0)
}

func (p *normalizer) members(i int) int {
	for i = skipSpace(p.b, i+1); p.b[i] != '}'; {
		_, colon := skipKey(p.b, i)
		i = skipSpace(p.b, colon+1)
		if i = skipSpace(p.b, p.value(i)); p.b[i] == ',' {
			i = skipSpace(p.b, i+1)
		}
	}
	return i + 1
}

// typedValueAt reads the typed value at i, if it is one: its end, and its plain value.
func typedValueAt(b []byte, i int) (end int, value []byte) {
	var kind []byte
	if i = skipSpace(b, i+1); b[i] != '"' {
		return 0, nil
	}
	for range 2 {
		if b[i] != '"' {
			return 0, nil
		}
		keyEnd, colon := skipKey(b, i)
		key := b[i:keyEnd]
		i = skipSpace(b, colon+1)
		switch string(key) {
		case `"__type__"`:
			if b[i] != '"' || kind != nil {
				return 0, nil
			}
			end := skipString(b, i)
			kind, i = b[i:end], end
		case `"__value__"`:
			if value != nil {
				return 0, nil
			}
			if i, value = typedValue(b, i); value == nil {
				return 0, nil
			}
		default:
			return 0, nil
		}
		if i = skipSpace(b, i); b[i] == ',' {
			i = skipSpace(b, i+1)
		}
	}
	if b[i] != '}' || kind == nil {
		return 0, nil
	}
	return i + 1, normalizeTyped(string(kind), value)
}

// typedValue reads what a known type may have: a string, or an object with
// nothing but "hex".
func typedValue(b []byte, i int) (end int, value []byte) {
	if b[i] == '"' {
		end = skipString(b, i)
		return end, b[i:end]
	}
	if b[i] != '{' {
		return 0, nil
	}
	start := i
	if i = skipSpace(b, i+1); b[i] != '"' {
		return 0, nil
	}
	_, colon := skipKey(b, i)
	if i = skipSpace(b, colon+1); b[i] != '"' {
		return 0, nil
	}
	if i = skipSpace(b, skipString(b, i)); b[i] != '}' {
		return 0, nil
	}
	return i + 1, b[start : i+1]
}

// normalizeTyped is the plain form of a value, or nil for a type that kombu has
// not.
func normalizeTyped(kind string, value []byte) []byte {
	switch kind {
	case `"datetime"`, `"date"`, `"time"`, `"decimal"`, `"bytes"`, `"base64"`:
		if value[0] == '"' {
			return value
		}
	case `"uuid"`:
		return normalizeUUID(value)
	}
	return nil
}

func normalizeUUID(value []byte) []byte {
	if value[0] == '"' {
		return value
	}
	var id [16]byte
	err := members(value, func(key, v []byte) error {
		inner := unquoted(v)
		if string(key) != "hex" || len(inner) != 32 {
			return errNotObject
		}
		_, err := hex.Decode(id[:], inner)
		return err
	})
	if err != nil {
		return nil
	}
	quoted := append(make([]byte, 0, 38), '"')
	return append(appendUUID(quoted, id), '"')
}
