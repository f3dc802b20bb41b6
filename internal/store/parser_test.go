package store_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

func TestParseQuery(t *testing.T) {
	for _, c := range []struct{ query, want string }{
		{`word`, `word`},
		{`"quoted text"`, `"quoted text"`},
		{`a b`, `(a and b)`},
		{`a AND b Or c`, `((a and b) or c)`},
		{`a or b c`, `(a or (b and c))`},
		{`not a b`, `(not a and b)`},
		{`NOT (a or b)`, `not (a or b)`},
		{`((a))`, `a`},
		{`field=value`, `field=value`},
		{`field!=value`, `not field=value`},
		{`field="a b"`, `field="a b"`},
		{`field=""`, `field=""`},
		{`"a field"="x"`, `"a field"=x`},
		{`"a=b"`, `"a=b"`},
		{`a=b=c`, `a=b=c`},
		{`field~^a.*b$`, `field~^a.*b$`},
		{`field~"a b"`, `field~"a b"`},
		{`field~(a|b)(c)`, `field~(a|b)(c)`},
		{`(field~(a|b))`, `field~(a|b)`},
		{`field~a\(b`, `field~a\(b`},
		{`"and"`, `"and"`},
		{`android order nothing`, `(android and order and nothing)`},
		{`Image=C:\dir\`, `Image=C:\dir\`},
		{`Image="C:\Program Files\x"`, `Image="C:\Program Files\x"`},
		{`C:\Windows\ x`, `(C:\Windows\ and x)`},
		{`"say \"hi\""`, `"say \"hi\""`},
		{`"C:\\dir\n"`, `C:\\dir\n`}, // no escapes: two backslashes, and an n
		{`Image=*\cmd.exe and not (User=*SYSTEM or User=root)`, `(Image=*\cmd.exe and not (User=*SYSTEM or User=root))`},
	} {
		x, err := store.ParseQuery(c.query)
		if err != nil {
			t.Errorf("%s: %v", c.query, err)
			continue
		}
		if x.String() != c.want {
			t.Errorf("%s is read as %s, want %s", c.query, x, c.want)
		}
	}
	for _, empty := range []string{"", " \t\n"} {
		if x, err := store.ParseQuery(empty); x != nil || err != nil {
			t.Errorf("the empty query is %v, %v", x, err)
		}
	}
}

func TestParseQueryErrors(t *testing.T) {
	for _, c := range []struct{ query, want string }{
		{`(a`, "not closed, at character 1"},
		{`a)`, "at character 2"},
		{`()`, "at character 2"},
		{`a and`, "missing at the end, at character 6"},
		{`or a`, "missing before the keyword"},
		{`a or or b`, "at character 6"},
		{`not`, "missing at the end"},
		{`=x`, "a field is missing"},
		{`a=`, "a value is missing"},
		{`a= b`, "a value is missing"},
		{`"abc`, "not closed"},
		{`""`, "no text between the quotes"},
		{`a="x"y`, "a space or the end"},
		{`a"x"`, "a space or the end"},
		{`f~(`, "missing closing )"},
		{`f~"["`, "at character 3"},
		{`Image="C:\dir\"`, "leave the quotes off"},
		{`Image="C:\dir\\"`, "leave the quotes off"},
		{`é (`, "at character 4"},
		{strings.Repeat("(", 100) + "a" + strings.Repeat(")", 100), "nested deeper"},
		{strings.Repeat("not ", 100) + "a", "nested deeper"},
		{strings.Repeat("a ", 1000), "more than"},
		{strings.Repeat("a", store.MaxQueryBytes+1), "longer than"},
		{"a\xff", "not UTF-8, at character 2"},
	} {
		_, err := store.ParseQuery(c.query)
		if !errors.Is(err, picket.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40s: error is %v, want one about %q", c.query, err, c.want)
		}
	}
}

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"abc", "ABC", true}, {"abc", "abcd", false}, {"abc", "xabc", false}, {"", "", true}, {"", "a", false},
		{"*", "", true}, {"*", "any", true}, {"a*", "a", true}, {"a*a", "a", false}, {"a*a", "aa", true}, {"*b*", "abc", true},
		{"a*b*c", "a-b-b-c", true}, {"a*bc", "abcbc", true}, {"*a?c", "xabc", true}, {"?", "é", true}, {"?", "", false}, {"??", "é", false},
		{"*?", "é", true}, {"a*?b", "ab", false}, {"a*?b", "aéb", true}, {"*é?*", "xéy", true}, {"STRASSE", "straße", false}, {"straẞe", "STRAßE", true},
		{"k", "\u212a", true}, {"müller", "MÜLLER", true}, {"σς", "ΣΣ", true}, {`c:\*\x.exe`, `C:\Windows\X.EXE`, true},
	} {
		if got := store.NewPattern(c.pattern).Match(c.text); got != c.want {
			t.Errorf("%q matches %q: %v, want %v", c.pattern, c.text, got, c.want)
		}
	}
}

func TestText(t *testing.T) {
	for raw, want := range map[string]string{
		`{"a":"b"}`: `{"a":"b"}`, `"C:\\n\n\"\/"`: "\"C:\\n\n\"/\"", `"\u00e9\ud83d\ude00"`: `"é😀"`, `"\ud83dx"`: "\"\ufffdx\"", `"\x\u12"`: `"\x\u12"`, `\`: `\`,
	} {
		if got := string(store.AppendEventText(nil, []byte(raw))); got != want {
			t.Errorf("the text of %s is %q, want %q", raw, got, want)
		}
	}
}
