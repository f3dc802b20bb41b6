package celery

import (
	"strconv"
	"strings"
)

// Repr returns Python's repr of a string, in the quotes that Python would choose.
func Repr(s string) string {
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		return pythonEscapes.Replace(strconv.Quote(s))
	}
	quoted := strconv.Quote(s)
	return "'" + singleQuotedEscapes.Replace(pythonEscapes.Replace(quoted[1:len(quoted)-1])) + "'"
}

// pythonEscapes converts Go's escapes to Python's, which has fewer short ones and writes
// \xa0 for \u00a0.
var pythonEscapes = strings.NewReplacer(`\\`, `\\`, `\a`, `\x07`, `\b`, `\x08`, `\f`, `\x0c`, `\v`, `\x0b`, `\u00`, `\x`)

// singleQuotedEscapes converts the content of a double-quoted string to that of a
// single-quoted one.
var singleQuotedEscapes = strings.NewReplacer(`\\`, `\\`, `\"`, `"`, `'`, `\'`)
