package legacy

import (
	"fmt"
	"net/http"
	"strconv"
	"unicode/utf16"

	"github.com/picket-edr/picket/internal/httpapi"
)

// An orderedObject is a JSON object whose members keep their order.
type orderedObject []objectMember

type objectMember struct {
	key   string
	value any
}

// writePythonJSON answers v in the bytes that Python's json.dumps writes: a space
// after each comma and colon, and all non-ASCII characters escaped.
func writePythonJSON(w http.ResponseWriter, status int, v any) error {
	return httpapi.WriteRawJSON(w, status, appendPythonJSON(nil, v))
}

// appendPythonJSON appends a value of one of the types that answers consist of.
func appendPythonJSON(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return strconv.AppendBool(b, v)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case float64: // small enough that Python writes no exponent
		b = strconv.AppendFloat(b, v, 'f', -1, 64)
		if v == float64(int64(v)) {
			b = append(b, ".0"...)
		}
		return b
	case string:
		return appendPythonString(b, v)
	case []string:
		return appendPythonList(b, v)
	case []orderedObject:
		return appendPythonList(b, v)
	case orderedObject:
		b = append(b, '{')
		for i, m := range v {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = append(appendPythonString(b, m.key), ": "...)
			b = appendPythonJSON(b, m.value)
		}
		return append(b, '}')
	}
	panic(fmt.Sprintf("no JSON for a %T", v)) // a programming error
}

func appendPythonList[T any](b []byte, list []T) []byte {
	b = append(b, '[')
	for i, v := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = appendPythonJSON(b, v)
	}
	return append(b, ']')
}

func appendPythonString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, c := range s { // invalid UTF-8 becomes U+FFFD
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c == '\b':
			b = append(b, `\b`...)
		case c == '\f':
			b = append(b, `\f`...)
		case c >= ' ' && c <= '~':
			b = append(b, byte(c))
		case c >= 0x10000:
			hi, lo := utf16.EncodeRune(c)
			b = fmt.Appendf(b, `\u%04x\u%04x`, hi, lo)
		default:
			b = fmt.Appendf(b, `\u%04x`, c)
		}
	}
	return append(b, '"')
}
