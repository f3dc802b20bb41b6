package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/pattern"
	"github.com/picket-edr/picket/sigma/internal/yamldoc"
)

// readPlaceholderMatcher reads which placeholders a transformation is for.
func readPlaceholderMatcher(r *mapReader) func(name string) bool {
	_, hasInclude := r.take("include")
	include, exclude := r.strings("include"), r.strings("exclude")
	if hasInclude && exclude != nil {
		r.fail(yamldoc.PositionOf(r.node), "%s: include and exclude exclude each other", r.what)
	}
	return func(name string) bool {
		return (include == nil || slices.Contains(include, name)) && !slices.Contains(exclude, name)
	}
}

func readWildcardPlaceholders(r *mapReader, _ string) transformFunc {
	return onPlaceholders(readPlaceholderMatcher(r), func(*applyState, string) ([]pattern.Pattern, error) {
		return []pattern.Pattern{{{Kind: pattern.Star}}}, nil
	})
}

func readValuePlaceholders(r *mapReader, _ string) transformFunc {
	return onPlaceholders(readPlaceholderMatcher(r), func(st *applyState, name string) ([]pattern.Pattern, error) {
		values, ok := st.vars[name]
		if !ok {
			return nil, fmt.Errorf("the pipeline has no variable %q for the placeholder", name)
		}
		var out []pattern.Pattern
		for _, v := range values {
			out = append(out, pattern.Parse(v, false))
		}
		return out, nil
	})
}

// onPlaceholders replaces the placeholders that matches selects, also in
// regular expressions, by each of their values. Modifiers stay as they are.
func onPlaceholders(matches func(string) bool, values func(st *applyState, name string) ([]pattern.Pattern, error)) transformFunc {
	return onItems(func(st *applyState, it ast.DetectionItem) ([]ast.DetectionItem, bool, *ast.Diagnostic) {
		if !it.Has("expand") {
			return nil, false, nil
		}
		isRegexp := it.Has("re")
		var out []ast.Scalar
		changed := false
		for _, v := range it.Values {
			if v.Kind != ast.String {
				out = append(out, v)
				continue
			}
			p := pattern.Parse(v.Text, true)
			if isRegexp {
				p = pattern.ParseRegexp(v.Text)
			}
			variants, err := p.Expand(func(name string) ([]pattern.Pattern, error) {
				if !matches(name) {
					return []pattern.Pattern{{{Kind: pattern.Placeholder, Text: name}}}, nil
				}
				changed = true
				alternatives, err := values(st, name)
				if isRegexp {
					alternatives = slices.Clone(alternatives)
					for i, a := range alternatives {
						// A % of a value does not begin a placeholder.
						alternatives[i] = pattern.FromLiteral(strings.ReplaceAll(a.RegexpSource(), "%", `\%`))
					}
				}
				return alternatives, err
			})
			if err != nil {
				return nil, false, ast.ErrorAt(ast.Position{}, "%v", err)
			}
			for _, variant := range variants {
				w := v
				w.Text = variant.Source(true)
				if isRegexp {
					w.Text = variant.RegexpTemplate()
				}
				out = append(out, w)
			}
		}
		it.Values = out
		return []ast.DetectionItem{it}, changed, nil
	})
}
