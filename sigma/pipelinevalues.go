package sigma

import (
	"regexp"
	"slices"
	"strings"
)

// onValues is a transformation of the values of items: f returns what takes
// the place of a value, or false to leave it. It sees what contains and its
// like mean as stars, and no values of expressions, networks and encodings.
func onValues(f func(r *pipelineRun, it *item, v scalar) ([]scalar, bool, *lineError)) transformation {
	return onItems(func(r *pipelineRun, it item) ([]item, bool, *lineError) {
		if !it.readable() {
			return nil, false, nil
		}
		out := it.starred()
		values, changed := make([]scalar, 0, len(out.values)), false
		for _, v := range out.values {
			to, ok, err := f(r, &out, v)
			switch {
			case err != nil:
				return nil, false, err
			case !ok:
				values = append(values, v)
			default:
				for _, t := range to {
					t.place = v.place
					values = append(values, t)
				}
				changed = true
			}
		}
		out.values = values
		if len(values) == 0 {
			return nil, true, nil
		}
		return []item{out}, changed, nil
	})
}

// onTexts is the same for texts.
func onTexts(f func(it *item, v scalar) ([]scalar, bool, *lineError)) transformation {
	return onValues(func(_ *pipelineRun, it *item, v scalar) ([]scalar, bool, *lineError) {
		if v.kind != String {
			return nil, false, nil
		}
		return f(it, v)
	})
}

func texts(of ...string) []scalar {
	var out []scalar
	for _, s := range of {
		out = append(out, scalar{kind: String, text: s})
	}
	return out
}

func readReplace(s *spec, _ string) transformation {
	re, replacement := s.regex("regex", false), goReplacement(s.text("replacement", true))
	skip, interpret := s.flag("skip_special"), s.flag("interpret_special")
	return onValues(func(_ *pipelineRun, it *item, v scalar) ([]scalar, bool, *lineError) {
		if v.kind != String && v.kind != Number {
			return nil, false, nil
		}
		expand := it.has("expand")
		if !skip {
			// Wildcards are replaced as what they look like, and what comes of
			// it is read as a rule's text.
			return texts(doubled(re.ReplaceAllString(v.shown(), replacement))), true, nil
		}
		var out pattern
		for _, q := range parsePattern(v.text, expand) {
			if q.kind == literal {
				q.text = re.ReplaceAllString(q.text, replacement)
				if interpret {
					out = append(out, parsePattern(q.text, expand)...)
					continue
				}
			}
			out = append(out, q)
		}
		return texts(out.written(expand)), true, nil
	})
}

// doubled writes the backslashes of a text that escape no wildcard twice.
func doubled(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteByte(s[i])
		if s[i] == '\\' && (i+1 == len(s) || s[i+1] != '*' && s[i+1] != '?') {
			b.WriteByte('\\')
		}
	}
	return b.String()
}

var pythonGroup = regexp.MustCompile(`\\(\\|n|t|r|[0-9]{1,2}|g<[A-Za-z_0-9]+>)`)

// goReplacement writes a replacement of Python's as one of Go's.
func goReplacement(s string) string {
	s = strings.ReplaceAll(s, "$", "$$")
	return pythonGroup.ReplaceAllStringFunc(s, func(m string) string {
		switch m[1] {
		case '\\':
			return `\`
		case 'n', 't', 'r':
			return map[byte]string{'n': "\n", 't': "\t", 'r': "\r"}[m[1]]
		case 'g':
			return "${" + m[3:len(m)-1] + "}"
		}
		return "${" + m[1:] + "}"
	})
}

func readMapString(s *spec, _ string) transformation {
	m := s.fieldMap().fields
	return onTexts(func(_ *item, v scalar) ([]scalar, bool, *lineError) {
		to, ok := m[v.shown()]
		return texts(to...), ok, nil
	})
}

// readRegex is for engines that compare with case: here values are compared
// without, so that only the method plain changes anything.
func readRegex(s *spec, _ string) transformation {
	plain := s.one("method", "ignore_case_brackets", "ignore_case_flag", "plain") == "plain"
	return onItems(func(_ *pipelineRun, it item) ([]item, bool, *lineError) {
		if plain && it.readable() && !it.has("cased") {
			it.modifiers = append(slices.Clip(it.modifiers), "cased")
		}
		return []item{it}, it.readable(), nil
	})
}

func readSetValue(s *spec, _ string) transformation {
	v := readValue(s)
	switch s.one("force_type", "", "str", "num") {
	case "str":
		v.kind = String
	case "num":
		if _, ok := parseDecimal(v.text); !ok {
			s.fail(v.place, "%q is no number", v.text)
		}
		v.kind = Number
	}
	return onItems(func(_ *pipelineRun, it item) ([]item, bool, *lineError) {
		// The value is what there is after all modifiers.
		it.modifiers = slices.DeleteFunc(slices.Clone(it.modifiers), func(m string) bool { return m != "all" && m != "neq" })
		to := v
		to.place = it.place
		it.values = []scalar{to}
		return []item{it}, true, nil
	})
}

func readConvert(s *spec, _ string) transformation {
	want := s.one("target_type", "str", "num")
	return onValues(func(_ *pipelineRun, _ *item, v scalar) ([]scalar, bool, *lineError) {
		switch {
		case want == "str" && v.kind == Number:
			return texts(v.text), true, nil
		case want == "num" && v.kind == String:
			if _, ok := parseDecimal(v.text); !ok {
				return nil, false, errorAt(place{}, "the value %q can't be made a number", v.text)
			}
			return []scalar{{kind: Number, text: v.text}}, true, nil
		}
		return nil, false, nil
	})
}

func readCase(s *spec, _ string) transformation {
	f := map[string]func(string) string{"lower": strings.ToLower, "upper": strings.ToUpper, "snake_case": snakeCase}[s.one("method", "lower", "upper", "snake_case")]
	return onTexts(func(it *item, v scalar) ([]scalar, bool, *lineError) {
		expand := it.has("expand")
		return texts(parsePattern(v.text, expand).mapLiterals(f).written(expand)), true, nil
	})
}
