package sigma

import (
	"fmt"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/pattern"
)

// expandValue replaces the placeholders of a value by each of their values. In
// a regular expression, these match literally except for their wildcards.
func expandValue(s ast.Scalar, isRegexp bool, placeholders map[string][]string) ([]modifiedValue, error) {
	if s.Kind != String {
		return []modifiedValue{{kind: valueKindOf(s), scalar: s}}, nil
	}
	p := pattern.Parse(s.Text, true)
	if isRegexp {
		p = pattern.ParseRegexp(s.Text)
	}
	variants, err := p.Expand(func(name string) ([]pattern.Pattern, error) {
		var values []pattern.Pattern
		for _, v := range placeholders[name] {
			q := pattern.Parse(v, false)
			if isRegexp {
				q = pattern.FromLiteral(q.RegexpSource())
			}
			values = append(values, q)
		}
		if values == nil {
			return nil, fmt.Errorf("placeholder %%%s%% has no value", name)
		}
		return values, nil
	})
	if err != nil {
		return nil, fmt.Errorf("modifier expand: %w", err)
	}
	var out []modifiedValue
	for _, v := range variants {
		scalar := s
		if isRegexp {
			scalar.Text = v.TextWithoutWildcards()
		}
		out = append(out, modifiedValue{kind: patternValue, pattern: v.Canonical(), scalar: scalar})
	}
	return out, nil
}
