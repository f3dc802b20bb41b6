package printable_test

import (
	"testing"

	"github.com/picket-edr/picket/internal/printable"
)

func TestText(t *testing.T) {
	for text, want := range map[string]string{
		"plain": "plain", "grün 日本": "grün 日本", "a\x1b[31mb\nc\td": "a [31mb c d", "\u0085\u202eevil\u2066\u2028": "  evil  ", "\xff": "\ufffd", "\x7f": " ",
	} {
		if got := printable.Text(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestSpreadsheetCell(t *testing.T) {
	for text, want := range map[string]string{"": "", "a=1": "a=1", "=1": "'=1", "  +1": "'  +1", "-enc": "'-enc", "@a": "'@a", "\uff1d1": "'\uff1d1"} {
		if got := printable.SpreadsheetCell(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}
