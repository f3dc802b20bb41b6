package celery

import (
	"encoding/binary"
	"math/bits"

	"github.com/picket-edr/picket/internal/jsonescape"
)

// The functions of this file return the index after what they skip. A negative result
// is ^index of the byte at which the text stops being JSON.

// maxJSONDepth bounds the nesting of arrays and objects, at about Python's default.
const maxJSONDepth = 1000

func skipSpace(b []byte, i int) (end int) {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skipValue returns the index after the value that begins at i.
func skipValue(b []byte, i, depth int) (end int) {
	if i >= len(b) || depth > maxJSONDepth {
		return ^i
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		return skipContainer(b, i, depth, nil)
	case 't':
		return skipLiteral(b, i, "true")
	case 'f':
		return skipLiteral(b, i, "false")
	case 'n':
		return skipLiteral(b, i, "null")
	case 'N':
		return skipLiteral(b, i, "NaN")
	case 'I':
		return skipLiteral(b, i, "Infinity")
	case '-':
		if i+1 < len(b) && b[i+1] == 'I' {
			return skipLiteral(b, i, "-Infinity")
		}
	}
	return skipNumber(b, i)
}

// skipContainer calls each, unless it is nil, for the members of the object at i or, with
// empty keys, for the elements of the array there.
func skipContainer(b []byte, i, depth int, each func(key, value []byte)) (end int) {
	isObject, closing := b[i] == '{', b[i]+2 // } or ]
	if i = skipSpace(b, i+1); i < len(b) && b[i] == closing {
		return i + 1
	}
	for {
		key, start := i, i
		if isObject {
			if i == len(b) || b[i] != '"' {
				return ^i
			}
			if i = skipString(b, i); i < 0 {
				return i
			}
			colon := skipSpace(b, i)
			if colon == len(b) || b[colon] != ':' {
				return ^colon
			}
			start = skipSpace(b, colon+1)
		}
		next := skipValue(b, start, depth+1)
		if next < 0 {
			return next
		}
		if each != nil && isObject {
			each(unquoted(b[key:i]), b[start:next])
		} else if each != nil {
			each(nil, b[start:next])
		}
		if i = skipSpace(b, next); i == len(b) || b[i] != ',' && b[i] != closing {
			return ^i
		}
		if b[i] == closing {
			return i + 1
		}
		i = skipSpace(b, i+1)
	}
}

func skipLiteral(b []byte, i int, literal string) (end int) {
	if len(b)-i < len(literal) || string(b[i:i+len(literal)]) != literal {
		return ^i
	}
	return i + len(literal)
}

func skipString(b []byte, i int) (end int) {
	for i = skipPlainText(b, i+1); i < len(b); i = skipPlainText(b, i+1) {
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			_, n := jsonescape.Decode(b[i:])
			if n == 0 {
				return ^i
			}
			i += n - 1
		default: // a control character
			return ^i
		}
	}
	return ^i
}

// skipPlainText returns the index of the next special byte in a string: a quote, a
// backslash or a control character. It checks eight bytes at a time.
func skipPlainText(b []byte, i int) (end int) {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		control, quote, backslash := x-ones*' ', (x^ones*'"')-ones, (x^ones*'\\')-ones
		if found := (control | quote | backslash) &^ x & high; found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

func skipNumber(b []byte, i int) (end int) {
	if b[i] == '-' {
		i++
	}
	whole := skipDigits(b, i)
	if whole == i || b[i] == '0' && whole > i+1 {
		return ^i
	}
	if i = whole; i < len(b) && b[i] == '.' {
		end := skipDigits(b, i+1)
		if end == i+1 {
			return ^end
		}
		i = end
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		end := skipDigits(b, i)
		if end == i {
			return ^end
		}
		i = end
	}
	return i
}

func skipDigits(b []byte, i int) (end int) {
	for i < len(b) && '0' <= b[i] && b[i] <= '9' {
		i++
	}
	return i
}
