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
