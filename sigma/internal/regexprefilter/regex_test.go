package regexprefilter

import (
	"testing"

	"github.com/picket-edr/picket/sigma/casefold"
)

// FuzzRegex compares a regex behind its gates with the regex alone.
func FuzzRegex(f *testing.F) {
	for _, source := range []string{
		`ab+c`, `(a|b)\d{2}`, `x{3}`, `(ab){2,3}c`, `(?i)k[aeiou]s+`, `[A-F0-9]{8}-[a-f]{5}`, `a.*b.*c`, `(?s)a.*b`, `.{5,}`, `(?s).{5}`,
		`(?:foo|ba[rz]|(?i)QUX)+\s?$`, `(|a)b`, `^$`, `\bword\b`, `[^a]b`, `(?m)^x$`, `(a{1}b{1}){1}`, `(?i)straße|ſ`, `\x{212a}`, `[k\x{212a}]x`,
		`a?b?c?`, `(?:a*b){2}`, `\+.*\+`, `[[:alpha:]]{6}`, `((a|b)(c|d)(e|f)(g|h)){2}`, `.*`, `(?i).*abc.*`, `\C`, `a{0}b`, `x{0,3}y{2,}`,
	} {
		f.Add(source, "i", "abbc foo BAR xyz KAS abcabcabc 12 ab12 ABCDEF01-abcde\nstrasse ſ K kx b")
		f.Add(source, "", "aXbXc word xxx quxfoo achgach\n+ +\n+12345 ab ababc acegbdfh yy")
	}
	f.Fuzz(func(t *testing.T, source, flags, text string) {
		if flags != "" && flags != "i" && flags != "m" && flags != "s" || len(source) > 100 {
			t.Skip()
		}
		r, err := Compile(source, flags)
		if err != nil {
			t.Skip()
		}
		if got, want := r.Match(text, []byte(casefold.String(text))), r.re.MatchString(text); got != want {
			t.Errorf("%q (%s) on %q: %v, without gates %v", source, flags, text, got, want)
		}
	})
}
