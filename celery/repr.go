package celery

import (
	"strconv"
	"unicode"
	"unicode/utf8"
)

// Repr appends Python's repr of a JSON value, which monitors show: {'a': 1, 'b': None,
// 'c': True}. A text of more than max bytes is cut and ends in "..."; max 0 means no
// limit. It stops at malformed JSON.
func Repr(dst, jsonValue []byte, max int) []byte {
	r := reprer{dst: dst, b: jsonValue, limit: limitLen(dst, max)}
	r.value(skipSpace(jsonValue, 0), 0)
	return r.end(len(dst), max)
}

// reprTuple returns Python's repr of the tuple that a JSON array stands for.
func reprTuple(array []byte, max int) []byte {
	dst := make([]byte, 0, 128)
	r := reprer{dst: append(dst, '('), b: array, limit: limitLen(dst, max)}
	if i := skipSpace(array, 0); i < len(array) && array[i] == '[' {
		r.list(i, 0, ",)", ")")
	} else {
		r.dst = append(r.dst, ')')
	}
	return r.end(0, max)
}

func limitLen(dst []byte, max int) int {
	if max <= 0 {
		return 1 << 62
	}
	return len(dst) + max
}

// A reprer writes a repr until the limit is exceeded or the text ends; then its methods
// return -1.
type reprer struct {
	dst, b []byte
	limit  int
}

// end cuts the text after start to max bytes.
func (r *reprer) end(start, max int) []byte {
	if len(r.dst) <= r.limit {
		return r.dst
	}
	at := start + max - len("...")
	if at < start {
		return r.dst[:start+max]
	}
	for at > start && !utf8.RuneStart(r.dst[at]) {
		at--
	}
	return append(r.dst[:at], "..."...)
}

func (r *reprer) value(i, depth int) int {
	if i >= len(r.b) || depth > maxDepth || len(r.dst) > r.limit {
		return -1
	}
	switch c := r.b[i]; c {
	case '"':
		end := skipString(r.b, i)
		if end < 0 {
			return -1
		}
		r.string(unquoted(r.b[i:end]))
		return end
	case '[':
		r.dst = append(r.dst, '[')
		return r.list(i, depth, "]", "]")
	case '{':
		return r.object(i, depth)
	}
	end := skipValue(r.b, i, depth)
	if end < 0 {
		return -1
	}
	r.scalar(r.b[i:end])
	return end
}

func (r *reprer) scalar(value []byte) {
	switch string(value) {
	case "null":
		r.dst = append(r.dst, "None"...)
	case "true":
		r.dst = append(r.dst, "True"...)
	case "false":
		r.dst = append(r.dst, "False"...)
	case "NaN":
		r.dst = append(r.dst, "nan"...)
	case "Infinity":
		r.dst = append(r.dst, "inf"...)
	case "-Infinity":
		r.dst = append(r.dst, "-inf"...)
	default:
		r.number(value)
	}
}

func (r *reprer) number(value []byte) {
	for _, c := range value {
		if c == '.' || c == 'e' || c == 'E' {
			if f, err := strconv.ParseFloat(string(value), 64); err == nil {
				r.dst = appendFloat(r.dst, f)
				return
			}
		}
	}
	r.dst = append(r.dst, value...)
}

// list writes the elements of the array at i, with one closing for a single element and
// another for more.
func (r *reprer) list(i, depth int, one, more string) int {
	end := more
	if i = skipSpace(r.b, i+1); i < len(r.b) && r.b[i] == ']' {
		r.dst = append(r.dst, more...)
		return i + 1
	}
	for count := 1; ; count++ {
		if i = r.value(i, depth+1); i < 0 {
			return i
		}
		if i = skipSpace(r.b, i); i == len(r.b) {
			return -1
		}
		if r.b[i] == ']' {
			if count == 1 {
				end = one
			}
			r.dst = append(r.dst, end...)
			return i + 1
		}
		if r.b[i] != ',' {
			return -1
		}
		r.dst = append(r.dst, ", "...)
		i = skipSpace(r.b, i+1)
	}
}

func (r *reprer) object(i, depth int) int {
	r.dst = append(r.dst, '{')
	if i = skipSpace(r.b, i+1); i < len(r.b) && r.b[i] == '}' {
		r.dst = append(r.dst, '}')
		return i + 1
	}
	for {
		if i == len(r.b) || r.b[i] != '"' {
			return -1
		}
		if i = r.value(i, depth+1); i < 0 {
			return i
		}
		if i = skipSpace(r.b, i); i == len(r.b) || r.b[i] != ':' {
			return -1
		}
		r.dst = append(r.dst, ": "...)
		if i = r.value(skipSpace(r.b, i+1), depth+1); i < 0 {
			return i
		}
		if i = skipSpace(r.b, i); i == len(r.b) {
			return -1
		}
		if r.b[i] == '}' {
			r.dst = append(r.dst, '}')
			return i + 1
		}
		if r.b[i] != ',' {
			return -1
		}
		r.dst = append(r.dst, ", "...)
		i = skipSpace(r.b, i+1)
	}
}

// string writes a string in the quotes that Python would choose.
func (r *reprer) string(s []byte) {
	quote := byte('\'')
	single, double := false, false
	for _, c := range s {
		single, double = single || c == '\'', double || c == '"'
	}
	if single && !double {
		quote = '"'
	}
	r.dst = append(r.dst, quote)
	for len(s) > 0 && len(r.dst) <= r.limit {
		c, size := utf8.DecodeRune(s)
		s = s[size:]
		r.dst = appendRune(r.dst, c, quote)
	}
	r.dst = append(r.dst, quote)
}

func appendRune(dst []byte, c rune, quote byte) []byte {
	const hex = "0123456789abcdef"
	switch {
	case c == rune(quote) || c == '\\':
		return append(dst, '\\', byte(c))
	case c == '\n':
		return append(dst, '\\', 'n')
	case c == '\r':
		return append(dst, '\\', 'r')
	case c == '\t':
		return append(dst, '\\', 't')
	case unicode.IsPrint(c):
		return utf8.AppendRune(dst, c)
	case c <= 0xff:
		return append(dst, '\\', 'x', hex[c>>4], hex[c&15])
	case c <= 0xffff:
		return appendEscape(dst, c)
	}
	dst = append(dst, '\\', 'U', '0', '0', hex[c>>20&15], hex[c>>16&15])
	return append(dst, hex[c>>12&15], hex[c>>8&15], hex[c>>4&15], hex[c&15])
}
