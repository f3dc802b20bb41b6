// Package printable makes text that is not trusted, such as that of events, rules and file
// names, safe to show in terminals and spreadsheets.
package printable

import (
	"strings"
	"unicode"
)

// Text returns one line of text. It replaces what could control a terminal or reorder
// what it shows: control characters (C0, DEL and C1), line and paragraph separators and
// bidirectional controls with spaces, invalid UTF-8 with U+FFFD.
func Text(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return strings.Map(printableRune, s)
		}
	}
	return s
}

func printableRune(r rune) rune {
	if unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control) {
		return ' '
	}
	return r
}

// SpreadsheetCell returns a cell that no spreadsheet takes for a formula, as OWASP
// advises: with an apostrophe before one that begins like a formula.
func SpreadsheetCell(text string) string {
	first := []rune(strings.TrimLeft(text, " "))
	if len(first) > 0 && strings.ContainsRune("=+-@\uff1d\uff0b\uff0d\uff20", first[0]) {
		return "'" + text
	}
	return text
}
