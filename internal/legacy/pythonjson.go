package legacy

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/jsonescape"
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
		return jsonescape.AppendASCII(b, v)
	case []string:
		return appendPythonJSONList(b, v)
	case []orderedObject:
		return appendPythonJSONList(b, v)
	case orderedObject:
		b = append(b, '{')
		for i, m := range v {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = append(jsonescape.AppendASCII(b, m.key), ": "...)
			b = appendPythonJSON(b, m.value)
		}
		return append(b, '}')
	}
	panic(fmt.Sprintf("no JSON for a %T", v)) // a programming error
}

func appendPythonJSONList[T any](b []byte, list []T) []byte {
	b = append(b, '[')
	for i, v := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = appendPythonJSON(b, v)
	}
	return append(b, ']')
}
