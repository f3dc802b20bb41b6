package store_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma/casefold"
)

// FuzzParseQuery checks that the text of a parsed query is parsed as the same query,
// and that it can be evaluated.
func FuzzParseQuery(f *testing.F) {
	for _, s := range []string{`a=b and not (c~"d.*e" or "f g")`, `x!="a \"b\" *?" y`, `Image=C:\dir\`, `"a b"~(x)`, `f~a\\`, `not not (a)`, `!=x`, `a!="`, `!\~\0`} {
		f.Add(s)
	}
	ev := picket.Event{ID: "id", AgentID: "a", Host: "h", Type: "t", Raw: []byte(`{"a":"b","x":["C:\\dir",null],"f":{"g":1}}`)}
	f.Fuzz(func(t *testing.T, s string) {
		x, err := store.ParseQuery(s)
		if err != nil {
			if !errors.Is(err, picket.ErrInvalid) {
				t.Errorf("error %v is not ErrInvalid", err)
			}
			return
		}
		if x == nil {
			return
		}
		var d store.EventView
		d.Reset(&ev)
		got := x.Match(&d)
		written := x.String()
		if len(written) > store.MaxQueryBytes {
			return
		}
		y, err := store.ParseQuery(written)
		if err != nil {
			t.Fatalf("%q is written as %q, which cannot be parsed: %v", s, written, err)
		}
		if y.String() != written || y.Match(&d) != got {
			t.Errorf("%q is written as %q, then as %q", s, written, y)
		}
	})
}

// FuzzPattern compares patterns with regular expressions.
func FuzzPattern(f *testing.F) {
	f.Add("a*b?c", "aXXbYc")
	f.Add("*é?", "É\u212a")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if !utf8.ValidString(pattern) || !utf8.ValidString(text) || len(pattern) > 100 {
			return
		}
		expr := regexp.QuoteMeta(pattern)
		expr = strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(expr)
		re := regexp.MustCompile(`(?is)^` + expr + `$`)
		if got, want := store.NewPattern(pattern).Match(text), re.MatchString(text); got != want {
			t.Errorf("%q matches %q: %v, want %v", pattern, text, got, want)
		}
		if store.NewPattern(pattern).Match(text) {
			for _, lit := range store.NewPattern(pattern).Literals() {
				if !strings.Contains(casefold.String(text), lit) {
					t.Errorf("%q matches %q, which lacks %q", pattern, text, lit)
				}
			}
		}
	})
}
