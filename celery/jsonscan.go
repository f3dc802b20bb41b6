package celery

import (
	"encoding/binary"
	"math/bits"
)

// The functions of this file return the index after what they skip. A negative result
// is ^index of the byte at which the text stops being JSON.

// maxDepth bounds the nesting of arrays and objects, at about Python's default.
const maxDepth = 1000

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skipValue returns the index after the value that begins at i.
func skipValue(b []byte, i, depth int) int {
	if i >= len(b) || depth > maxDepth {
		return ^i
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{':
		return skipObject(b, i, depth, nil)
	case '[':
		return skipArray(b, i, depth, nil)
	case 't':
		return skipWord(b, i, "true")
	case 'f':
		return skipWord(b, i, "false")
	case 'n':
		return skipWord(b, i, "null")
	case 'N':
		return skipWord(b, i, "NaN")
	case 'I':
		return skipWord(b, i, "Infinity")
	case '-':
		if i+1 < len(b) && b[i+1] == 'I' {
			return skipWord(b, i, "-Infinity")
		}
	}
	return skipNumber(b, i)
}

// skipObject calls each, unless it is nil, for the members of the object at i.
func skipObject(b []byte, i, depth int, each func(key, value []byte)) int {
	if i = skipSpace(b, i+1); i < len(b) && b[i] == '}' {
		return i + 1
	}
	for {
		key, colon := skipKey(b, i)
		if colon < 0 {
			return colon
		}
		start := skipSpace(b, colon+1)
		end := skipValue(b, start, depth+1)
		if end < 0 {
			return end
		}
		if each != nil {
			each(unquoted(b[i:key]), b[start:end])
		}
		if i = skipSpace(b, end); i == len(b) || b[i] != ',' {
			return skipByte(b, i, '}')
		}
		i = skipSpace(b, i+1)
	}
}

// skipArray calls each, unless it is nil, for the elements of the array at i.
func skipArray(b []byte, i, depth int, each func(value []byte)) int {
	if i = skipSpace(b, i+1); i < len(b) && b[i] == ']' {
		return i + 1
	}
	for {
		end := skipValue(b, i, depth+1)
		if end < 0 {
			return end
		}
		if each != nil {
			each(b[i:end])
		}
		if i = skipSpace(b, end); i == len(b) || b[i] != ',' {
			return skipByte(b, i, ']')
		}
		i = skipSpace(b, i+1)
	}
}

func skipByte(b []byte, i int, c byte) int {
	if i >= len(b) || b[i] != c {
		return ^i
	}
	return i + 1
}

func skipWord(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return ^i
	}
	return i + len(word)
}

// skipKey returns the index after the key at i, and that of its colon.
func skipKey(b []byte, i int) (end, colon int) {
	if i >= len(b) || b[i] != '"' {
		return ^i, ^i
	}
	if end = skipString(b, i); end < 0 {
		return end, end
	}
	if colon = skipSpace(b, end); colon == len(b) || b[colon] != ':' {
		return end, ^colon
	}
	return end, colon
}

func skipString(b []byte, i int) int {
	for i = plainText(b, i+1); i < len(b); i = plainText(b, i+1) {
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			if i = skipEscape(b, i+1); i < 0 {
				return i
			}
		default: // a control character
			return ^i
		}
	}
	return ^i
}

// plainText returns the index of the next special byte in a string: a quote, a
// backslash or a control character. It checks eight bytes at a time.
func plainText(b []byte, i int) int {
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

// skipEscape returns the index of the last byte of the escape after a backslash.
func skipEscape(b []byte, i int) int {
	if i >= len(b) {
		return ^i
	}
	switch b[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i
	case 'u':
		if _, ok := hex4(b, i+1); ok {
			return i + 4
		}
	}
	return ^i
}

func hex4(b []byte, i int) (rune, bool) {
	if len(b) < i+4 {
		return 0, false
	}
	var r rune
	for _, c := range b[i : i+4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

func skipNumber(b []byte, i int) int {
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

func skipDigits(b []byte, i int) int {
	for i < len(b) && '0' <= b[i] && b[i] <= '9' {
		i++
	}
	return i
}
