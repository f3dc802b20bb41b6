package pipeline

import (
	"regexp"
	"slices"
	"strings"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/decimal"
	"github.com/picket-edr/picket/sigma/internal/pattern"
)

// onValues returns a transformation of the values of plain items: f returns what
// replaces a value, or false to leave it as it is. It sees contains and its like
// as stars.
func onValues(f func(st *applyState, it *ast.DetectionItem, v ast.Scalar) ([]ast.Scalar, bool, *ast.Diagnostic)) transformFunc {
	return onItems(func(st *applyState, it ast.DetectionItem) ([]ast.DetectionItem, bool, *ast.Diagnostic) {
		if !hasPlainValues(&it) {
			return nil, false, nil
		}
		out := withModifiersAsStars(&it)
		values, changed := make([]ast.Scalar, 0, len(out.Values)), false
		for _, v := range out.Values {
			to, ok, err := f(st, &out, v)
			switch {
			case err != nil:
				return nil, false, err
			case !ok:
				values = append(values, v)
			default:
				for _, t := range to {
					t.Position = v.Position
					values = append(values, t)
				}
				changed = true
			}
		}
		out.Values = values
		if len(values) == 0 {
			return nil, true, nil
		}
		return []ast.DetectionItem{out}, changed, nil
	})
}

// onStringValues is onValues for strings.
func onStringValues(f func(it *ast.DetectionItem, v ast.Scalar) ([]ast.Scalar, bool, *ast.Diagnostic)) transformFunc {
	return onValues(func(_ *applyState, it *ast.DetectionItem, v ast.Scalar) ([]ast.Scalar, bool, *ast.Diagnostic) {
		if v.Kind != ast.String {
			return nil, false, nil
		}
		return f(it, v)
	})
}

// stringScalars returns strings as scalars, as a rule writes them.
func stringScalars(texts ...string) []ast.Scalar {
	var out []ast.Scalar
	for _, s := range texts {
		out = append(out, ast.Scalar{Kind: ast.String, Text: s})
	}
	return out
}

func readReplaceString(r *mapReader, _ string) transformFunc {
	re, replacement := r.regex("regex", false), toGoReplacement(r.text("replacement", true))
	skip, interpret := r.flag("skip_special"), r.flag("interpret_special")
	return onValues(func(_ *applyState, it *ast.DetectionItem, v ast.Scalar) ([]ast.Scalar, bool, *ast.Diagnostic) {
		if v.Kind != ast.String && v.Kind != ast.Number {
			return nil, false, nil
		}
		expand := it.Has("expand")
		if !skip {
			// The expression sees wildcards as * and ?, and its result is read as
			// a rule's string.
			return stringScalars(escapeNonWildcardBackslashes(re.ReplaceAllString(unescapedText(v), replacement))), true, nil
		}
		var out pattern.Pattern
		for _, q := range pattern.Parse(v.Text, expand) {
			if q.Kind == pattern.Literal {
				q.Text = re.ReplaceAllString(q.Text, replacement)
				if interpret {
					out = append(out, pattern.Parse(q.Text, expand)...)
					continue
				}
			}
			out = append(out, q)
		}
		return stringScalars(out.Source(expand)), true, nil
	})
}

// escapeNonWildcardBackslashes doubles the backslashes that do not escape a wildcard.
func escapeNonWildcardBackslashes(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteByte(s[i])
		if s[i] == '\\' && (i+1 == len(s) || s[i+1] != '*' && s[i+1] != '?') {
			b.WriteByte('\\')
		}
	}
	return b.String()
}

var pythonReplacementEscape = regexp.MustCompile(`\\(\\|n|t|r|[0-9]{1,2}|g<[A-Za-z_0-9]+>)`)

// toGoReplacement converts a replacement text of Python's re to one of Go's.
func toGoReplacement(s string) string {
	s = strings.ReplaceAll(s, "$", "$$")
	return pythonReplacementEscape.ReplaceAllStringFunc(s, func(m string) string {
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

func readMapString(r *mapReader, _ string) transformFunc {
	m := r.fieldMap().fields
	return onStringValues(func(_ *ast.DetectionItem, v ast.Scalar) ([]ast.Scalar, bool, *ast.Diagnostic) {
		to, ok := m[unescapedText(v)]
		return stringScalars(to...), ok, nil
	})
}

// readRegex reads regex, which makes regular expressions of strings for engines
// that compare with case. Comparisons here ignore case already, so only the
// method plain has an effect.
func readRegex(r *mapReader, _ string) transformFunc {
	plain := r.oneOf("method", "ignore_case_brackets", "ignore_case_flag", "plain") == "plain"
	return onItems(func(_ *applyState, it ast.DetectionItem) ([]ast.DetectionItem, bool, *ast.Diagnostic) {
		if plain && hasPlainValues(&it) && !it.Has("cased") {
			it.Modifiers = append(slices.Clip(it.Modifiers), "cased")
		}
		return []ast.DetectionItem{it}, hasPlainValues(&it), nil
	})
}

func readSetValue(r *mapReader, _ string) transformFunc {
	v := readValueParameter(r)
	switch r.oneOf("force_type", "", "str", "num") {
	case "str":
		v.Kind = ast.String
	case "num":
		if _, ok := decimal.Parse(v.Text); !ok {
			r.fail(v.Position, "%q is not a number", v.Text)
		}
		v.Kind = ast.Number
	}
	return onItems(func(_ *applyState, it ast.DetectionItem) ([]ast.DetectionItem, bool, *ast.Diagnostic) {
		// The value is final: modifiers are not applied to it.
		it.Modifiers = slices.DeleteFunc(slices.Clone(it.Modifiers), func(m string) bool { return m != "all" && m != "neq" })
		to := v
		to.Position = it.Position
		it.Values = []ast.Scalar{to}
		return []ast.DetectionItem{it}, true, nil
	})
}

func readConvertType(r *mapReader, _ string) transformFunc {
	want := r.oneOf("target_type", "str", "num")
	return onValues(func(_ *applyState, _ *ast.DetectionItem, v ast.Scalar) ([]ast.Scalar, bool, *ast.Diagnostic) {
		switch {
		case want == "str" && v.Kind == ast.Number:
			return stringScalars(v.Text), true, nil
		case want == "num" && v.Kind == ast.String:
			if _, ok := decimal.Parse(v.Text); !ok {
				return nil, false, ast.ErrorAt(ast.Position{}, "the value %q can't be made a number", v.Text)
			}
			return []ast.Scalar{{Kind: ast.Number, Text: v.Text}}, true, nil
		}
		return nil, false, nil
	})
}

func readCase(r *mapReader, _ string) transformFunc {
	f := map[string]func(string) string{"lower": strings.ToLower, "upper": strings.ToUpper, "snake_case": snakeCase}[r.oneOf("method", "lower", "upper", "snake_case")]
	return onStringValues(func(it *ast.DetectionItem, v ast.Scalar) ([]ast.Scalar, bool, *ast.Diagnostic) {
		expand := it.Has("expand")
		return stringScalars(pattern.Parse(v.Text, expand).MapLiterals(f).Source(expand)), true, nil
	})
}
