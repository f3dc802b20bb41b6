package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// How much of texts that senders wrote a page shows.
const (
	maxCellBytes         = 200       // bytes of a text in a list
	maxValueBytes        = 4 << 10   // bytes of a value
	maxShownEventBytes   = 512 << 10 // bytes of an event on its page, indented
	maxMatchedEventBytes = 64 << 10  // bytes of an event on the page of an alert
)

// truncateToBytes returns the first maxBytes bytes of a text, and says so if it has more.
func truncateToBytes(maxBytes int, text string) string {
	if len(text) <= maxBytes {
		return text
	}
	for maxBytes > 0 && !utf8.RuneStart(text[maxBytes]) {
		maxBytes--
	}
	return text[:maxBytes] + "…"
}

// indentJSON returns JSON with indentation, and other text as it is, up to maxBytes bytes.
func indentJSON(raw []byte, maxBytes int) string {
	var b bytes.Buffer
	if indentedSize(raw) <= maxBytes && json.Indent(&b, raw, "", "  ") == nil {
		return b.String()
	}
	if len(raw) > maxBytes {
		return truncateToBytes(maxBytes, string(raw[:maxBytes+1])) + fmt.Sprintf("\n\n(the first %d of %d bytes)", maxBytes, len(raw))
	}
	return string(raw)
}

// indentedSize returns about how many bytes JSON takes with indentation, which can
// be many times its size.
func indentedSize(raw []byte) int {
	size, depth, inString := len(raw), 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inString:
			if c == '\\' {
				i++
			}
			inString = c != '"'
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			depth++
			size += 1 + 2*depth
		case c == '}' || c == ']':
			depth--
			size += 1 + 2*max(depth, 0)
		case c == ',':
			size += 1 + 2*max(depth, 0)
		}
	}
	return size
}
