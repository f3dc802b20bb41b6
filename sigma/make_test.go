package sigma

import (
	"math/rand/v2"
	"strings"
	"unicode"

	"github.com/picket-edr/picket/sigma/ast"
)

// MakeEvent makes an event from the values in a rule, changed
// here and there, so that many of them match.
func MakeEvent(r *ast.Rule, rnd *rand.Rand) []Field {
	var fields []Field
	for _, d := range r.Detections.Searches {
		if strings.HasPrefix(d.Name, "filter") && rnd.IntN(4) > 0 {
			continue
		}
		all := d.Alternatives[rnd.IntN(len(d.Alternatives))]
		for _, it := range all {
			fields = append(fields, makeField(it, rnd)...)
		}
	}
	rnd.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	return fields
}

func makeField(it ast.DetectionItem, rnd *rand.Rand) []Field {
	name := it.Field
	if it.Keyword {
		name = "Message"
	}
	texts := []string{}
	kind := String
	values := []ast.Scalar{it.Values[rnd.IntN(len(it.Values))]}
	has := func(m string) bool { return strings.Contains(" "+strings.Join(it.Modifiers, " ")+" ", " "+m+" ") }
	if has("all") {
		values = it.Values
	}
	for _, s := range values {
		switch {
		case s.Kind == Null:
			if rnd.IntN(2) == 0 {
				return nil
			}
			return []Field{{Name: name}}
		case has("fieldref"):
			return []Field{{name, Value{String, "same"}}, {s.Text, Value{String, "SAME"}}}
		case has("cidr"):
			texts = append(texts, strings.Split(s.Text, "/")[0])
		case has("re"):
			texts = append(texts, makeRegexText(s.Text, rnd))
		default:
			kind = s.Kind
			ts := []string{s.Text}
			if s.Kind == String {
				ts = nil
				for _, t := range oracleModifyAll(it, s.Text) {
					ts = append(ts, makeText(t, rnd))
				}
			}
			texts = append(texts, ts[rnd.IntN(len(ts))])
		}
	}
	text := strings.Join(texts, " ")
	if kind == String && rnd.IntN(3) == 0 {
		text = strings.Map(func(r rune) rune {
			if rnd.IntN(2) == 0 {
				return unicode.SimpleFold(r)
			}
			return r
		}, text)
	}
	if kind == String && rnd.IntN(6) == 0 {
		text = []string{"x" + text, text + "x", text + "\n" + text, "é" + text}[rnd.IntN(4)]
	}
	if kind == String && rnd.IntN(8) == 0 && text != "" {
		i := rnd.IntN(len(text))
		text = text[:i] + string(rune('a'+rnd.IntN(26))) + text[i+1:]
	}
	out := []Field{{name, Value{kind, text}}}
	if rnd.IntN(8) == 0 {
		out = append(out, Field{name, Value{String, "another"}})
	}
	return out
}

func oracleModifyAll(it ast.DetectionItem, text string) [][]rune {
	tokens := [][]rune{oracleTokens(text)}
	for _, m := range it.Modifiers {
		var next [][]rune
		for _, t := range tokens {
			next = append(next, oracleModify(m, t)...)
		}
		tokens = next
	}
	return tokens
}

func makeText(t []rune, rnd *rand.Rand) string {
	var out []rune
	for _, r := range t {
		switch r {
		case oracleStar:
			for range rnd.IntN(3) {
				out = append(out, []rune(`x \`)[rnd.IntN(3)])
			}
		case oracleQuestion:
			out = append(out, []rune("xé1")[rnd.IntN(3)])
		default:
			out = append(out, r)
		}
	}
	return oracleText(out)
}

// makeRegexText strips a regex to something that it may match.
func makeRegexText(s string, rnd *rand.Rand) string {
	s = strings.NewReplacer(`\\`, `\`, `\s`, " ", `\d`, "1", `\w`, "a", `.*`, "xx", `.+`, "y", `(?i)`, "", `[0-9]`, "7", `{1,3}`, "", `\.`, ".", `+`, "").Replace(s)
	return strings.Repeat(s, 1+rnd.IntN(2))
}
