package pipeline

import (
	"slices"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/pattern"
)

// hasFieldName reports whether the item compares the field; keywords have none.
func hasFieldName(it *ast.DetectionItem, field string) bool { return !it.Keyword && it.Field == field }

// fieldName returns the field of an item, "" for keywords.
func fieldName(it *ast.DetectionItem) string {
	if it.Keyword {
		return ""
	}
	return it.Field
}

// hasPlainValues reports whether the values are strings and numbers, rather than regular
// expressions, networks, other fields or encoded strings.
func hasPlainValues(it *ast.DetectionItem) bool {
	return !it.HasAny("re", "cidr", "fieldref", "exists", "lt", "lte", "gt", "gte", "minute", "hour", "day", "week", "month", "year",
		"base64", "base64offset", "wide", "utf16", "utf16le", "utf16be", "windash")
}

// withModifiersAsStars returns the item with contains, startswith and endswith written as
// stars, which is how pipelines see values.
func withModifiersAsStars(it *ast.DetectionItem) ast.DetectionItem {
	out := *it
	if it.Keyword || !hasPlainValues(it) || !it.HasAny("contains", "startswith", "endswith") {
		return out
	}
	expand := it.Has("expand")
	out.Modifiers = slices.DeleteFunc(slices.Clone(it.Modifiers), func(m string) bool { return m == "contains" || m == "startswith" || m == "endswith" })
	out.Values = slices.Clone(it.Values)
	for i, v := range out.Values {
		if v.Kind == ast.Null {
			continue // sigma.Compile reports it
		}
		p := pattern.FromLiteral(v.Text)
		if v.Kind == ast.String {
			p = pattern.Parse(v.Text, expand)
		}
		for _, m := range it.Modifiers {
			switch m {
			case "contains":
				p = p.WithStars(true, true)
			case "startswith":
				p = p.WithStars(false, true)
			case "endswith":
				p = p.WithStars(true, false)
			}
		}
		out.Values[i].Kind, out.Values[i].Text = ast.String, p.Source(expand)
	}
	return out
}

// unescapedText returns a string as the regular expressions of pipelines see it: with
// wildcards as they are, and literals without backslashes.
func unescapedText(s ast.Scalar) string { return pattern.Parse(s.Text, false).Unescaped() }

// literalScalar returns a string without wildcards.
func literalScalar(text string, p ast.Position) ast.Scalar {
	return ast.Scalar{Kind: ast.String, Text: pattern.FromLiteral(text).Source(false), Position: p}
}

// equalScalars reports whether two scalars are equal, case included.
func equalScalars(a, b ast.Scalar) bool {
	if a.Kind != b.Kind {
		return false
	}
	switch a.Kind {
	case ast.Number:
		return compareScalars(a, "eq", b)
	case ast.String:
		return slices.Equal(pattern.Parse(a.Text, false), pattern.Parse(b.Text, false))
	}
	return a.Text == b.Text
}

// replaceItems calls f for every item of a detection block, nested ones
// included, and replaces each by what f returns.
func replaceItems(d *ast.Detections, f func(it ast.DetectionItem) ([]ast.DetectionItem, *ast.Diagnostic)) *ast.Diagnostic {
	for i := range d.Searches {
		for k, c := range d.Searches[i].Alternatives {
			replaced, err := replaceItemsIn(c, f)
			if err != nil {
				return err
			}
			d.Searches[i].Alternatives[k] = replaced
		}
	}
	return nil
}

func replaceItemsIn(c ast.Conjunction, f func(it ast.DetectionItem) ([]ast.DetectionItem, *ast.Diagnostic)) (ast.Conjunction, *ast.Diagnostic) {
	out := make(ast.Conjunction, 0, len(c))
	for _, it := range c {
		if it.Nested == nil {
			items, err := f(it)
			if err != nil {
				return nil, err
			}
			out = append(out, items...)
			continue
		}
		var nested []ast.Conjunction
		for _, inner := range it.Nested {
			inner, err := replaceItemsIn(inner, f)
			if err != nil {
				return nil, err
			}
			if len(inner) > 0 {
				nested = append(nested, inner)
			}
		}
		if nested != nil {
			it.Nested = nested
			out = append(out, it)
		}
	}
	return out, nil
}

// markApplied notes that the transformation was applied to an item.
func (p *processingItem) markApplied(it *ast.DetectionItem) {
	if p.id != "" && !slices.Contains(it.Applied, p.id) {
		it.Applied = append(slices.Clip(it.Applied), p.id)
	}
}
