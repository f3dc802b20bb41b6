package jsonescape_test

import (
	"testing"

	"github.com/picket-edr/picket/internal/jsonescape"
)

func TestDecode(t *testing.T) {
	for s, want := range map[string]struct {
		r rune
		n int
	}{
		`\n`: {'\n', 2}, `\/x`: {'/', 2}, `\u00e9`: {'é', 6}, `\u00E9`: {'é', 6}, `\ud83d\ude00`: {'😀', 12},
		`\ud83d`: {'\ufffd', 6}, `\ude00\ud83d`: {'\ufffd', 6}, `\ud83d\u0041`: {'\ufffd', 6}, `\ud83d\uxxxx`: {'\ufffd', 6},
		``: {}, `\`: {}, `n`: {}, `\x41`: {}, `\u12g4`: {}, `\u12`: {},
	} {
		if r, n := jsonescape.Decode(s); r != want.r || n != want.n {
			t.Errorf("Decode(%s) = %q, %d, want %q, %d", s, r, n, want.r, want.n)
		}
		if r, n := jsonescape.Decode([]byte(s)); r != want.r || n != want.n {
			t.Errorf("Decode of bytes %s = %q, %d", s, r, n)
		}
	}
}

// TestAppendASCII has the bytes of Python's json.dumps.
func TestAppendASCII(t *testing.T) {
	for s, want := range map[string]string{
		``: `""`, `plain`: `"plain"`, "a\"\\/\n\r\t\b\f": `"a\"\\/\n\r\t\b\f"`, "\x00\x1f\x7f": `"\u0000\u001f\u007f"`,
		"é日😀z": `"\u00e9\u65e5\ud83d\ude00z"`, "\xff": `"\ufffd"`,
	} {
		if got := string(jsonescape.AppendASCII(nil, s)); got != want {
			t.Errorf("AppendASCII(%q) = %s, want %s", s, got, want)
		}
	}
}
