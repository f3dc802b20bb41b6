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
	p := normalizer{dst: dst[:0], b: src}
	p.value(skipSpace(src, 0))
	if p.copied == 0 {
		return src, nil
	}
	return append(p.dst, src[p.copied:]...), nil
}

// A normalizer converts JSON that is known to be well-formed.
type normalizer struct {
	dst, b []byte
	copied int // how much of b is in dst
}

// replace replaces b[start:end].
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

// typedValueAt returns the end of the typed value at i and its plain value, if there is
// one.
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

// typedValue returns the value of a typed value: a string, or an object with only
// "hex".
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

// normalizeTyped returns the plain form of a value, nil for a type that kombu does not
// know.
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
