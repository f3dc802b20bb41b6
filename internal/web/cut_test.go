package web

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestCut(t *testing.T) {
	for _, c := range []struct {
		n          int
		text, want string
	}{{3, "abc", "abc"}, {3, "abcd", "abc…"}, {3, "aéé", "aé…"}, {2, "aé", "a…"}, {0, "a", "…"}} {
		if got := truncateToBytes(c.n, c.text); got != c.want {
			t.Errorf("%d bytes of %q: %q, want %q", c.n, c.text, got, c.want)
		}
	}
}

// JSON is indented only if that does not make it many times as large.
func TestIndentJSON(t *testing.T) {
	const n = 10 << 10
	for name, raw := range map[string]string{
		"plain":   `{"a":[1,{"b":"x,{[\"}"}],"c":{}}`,
		"deep":    strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
		"wide":    `[` + strings.Repeat("1,", 5000) + `1]`,
		"long":    `{"a":"` + strings.Repeat("é", n) + `"}`,
		"no JSON": `{"a":`,
	} {
		got := indentJSON([]byte(raw), n)
		if len(got) > n+100 {
			t.Errorf("%s: %d bytes", name, len(got))
		}
		if name == "plain" && (!json.Valid([]byte(got)) || strings.Count(got, "\n") < 7) {
			t.Errorf("plain: %s", got)
		}
	}
}
