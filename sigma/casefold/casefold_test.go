package casefold

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// Two runes fold to the same exactly if strings.EqualFold says so.
func TestFoldRune(t *testing.T) {
	for r := rune(0); r <= utf8.MaxRune; r++ {
		f := Rune(r)
		if r < utf8.RuneSelf {
			f = rune(String(string(r))[0])
		}
		if !strings.EqualFold(string(r), string(f)) || f >= utf8.RuneSelf && Rune(f) != f {
			t.Fatalf("%U folds to %U", r, f)
		}
	}
}

func FuzzFold(f *testing.F) {
	f.Add("Ärzte ABC®def GHIJKLMNOP", "ärzte abc®DEF ghijklmnop")
	f.Add("\xffABCDEFGHIJK\xfe", "\xffabcdefghijk\xfe")
	f.Fuzz(func(t *testing.T, a, b string) {
		fa, ascii := Append([]byte("x"), a)
		if ascii != IsASCII(a) {
			t.Errorf("%q: ascii = %v", a, ascii)
		}
		if string(fa[1:]) != String(String(a)) {
			t.Errorf("%q folds to %q and then to %q", a, fa[1:], String(String(a)))
		}
		if utf8.ValidString(a) && utf8.ValidString(b) && (String(a) == String(b)) != strings.EqualFold(a, b) {
			t.Errorf("%q and %q: fold differs from EqualFold", a, b)
		}
	})
}
