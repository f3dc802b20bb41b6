package pipeline

import (
	"slices"
	"strings"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/decimal"
	"github.com/picket-edr/picket/sigma/internal/yamldoc"
)

// readHashesFields reads hashes_fields, which replaces Hashes: 'MD5=...' by a field for
// each algorithm.
func readHashesFields(r *mapReader, _ string) transformFunc {
	algos, prefix, drop := r.strings("valid_hash_algos"), r.text("field_prefix", false), r.flag("drop_algo_prefix")
	fields := r.strings("field_to_parse")
	if fields == nil {
		fields = []string{"Hashes", "Hash"}
	}
	return onItems(func(_ *applyState, it ast.DetectionItem) ([]ast.DetectionItem, bool, *ast.Diagnostic) {
		values := withModifiersAsStars(&it).Values
		if it.Keyword || !slices.Contains(fields, it.Field) || !hasPlainValues(&it) || slices.ContainsFunc(values, func(v ast.Scalar) bool { return v.Kind != ast.String }) {
			return nil, false, nil
		}
		var order []string
		byField := make(map[string][]ast.Scalar)
		for _, v := range values {
			algo, hash := splitHash(unescapedText(v))
			if !slices.Contains(algos, algo) {
				continue
			}
			field := prefix + algo
			if drop {
				field = prefix
			}
			if byField[field] == nil {
				order = append(order, field)
			}
			byField[field] = append(byField[field], literalScalar(hash, v.Position))
		}
		if order == nil {
			return nil, false, ast.ErrorAt(ast.Position{}, "no value of %s is a hash of a valid algorithm (%s)", it.Field, strings.Join(algos, ", "))
		}
		var nested []ast.Conjunction
		for _, f := range order {
			one := ast.DetectionItem{Field: f, Keyword: f == "" || f == "keyword", Values: byField[f], Position: it.Position}
			if it.Has("neq") {
				one.Modifiers = []string{"neq"}
			}
			nested = append(nested, ast.Conjunction{one})
		}
		if len(nested) == 1 {
			return nested[0], true, nil
		}
		return []ast.DetectionItem{{Position: it.Position, Nested: nested}}, true, nil
	})
}

// splitHash returns the algorithm and the hash. Without a name, the length of
// the hash tells the algorithm.
func splitHash(s string) (algo, hash string) {
	sep := "="
	if strings.Contains(s, "|") {
		sep = "|"
	}
	name, rest, ok := strings.Cut(s, sep)
	if ok && !strings.Contains(rest, sep) {
		return strings.ToUpper(strings.TrimLeft(name, "*")), strings.Trim(rest, "*?")
	}
	hash = strings.Trim(name, "*?")
	return map[int]string{32: "MD5", 40: "SHA1", 64: "SHA256", 128: "SHA512"}[len(hash)], hash
}

// readExtractFields reads extract_fields, which makes a field of each named group of a
// regular expression.
func readExtractFields(r *mapReader, _ string) transformFunc {
	re, prefix, keep := r.regex("regex", true), r.text("field_prefix", false), r.flag("preserve_unmatched")
	if !slices.ContainsFunc(re.SubexpNames(), func(n string) bool { return n != "" }) {
		r.fail(yamldoc.PositionOf(r.node), "the expression of extract_fields has no named group")
	}
	return onItems(func(_ *applyState, it ast.DetectionItem) ([]ast.DetectionItem, bool, *ast.Diagnostic) {
		values := withModifiersAsStars(&it).Values
		if !hasPlainValues(&it) || slices.ContainsFunc(values, func(v ast.Scalar) bool { return v.Kind != ast.String }) {
			return nil, false, nil
		}
		var nested []ast.Conjunction
		for _, v := range values {
			m := re.FindStringSubmatch(unescapedText(v))
			if m == nil && keep {
				nested = append(nested, ast.Conjunction{{Field: it.Field, Keyword: it.Keyword, Values: []ast.Scalar{v}, Position: it.Position}})
			}
			var all ast.Conjunction
			for i, name := range re.SubexpNames() {
				if m == nil || name == "" || m[i] == "" {
					continue
				}
				if prefix != "" {
					name = prefix + "." + name
				}
				all = append(all, ast.DetectionItem{Field: name, Values: []ast.Scalar{inferScalar(m[i], v.Position)}, Position: it.Position})
			}
			if all != nil {
				nested = append(nested, all)
			}
		}
		if nested == nil {
			return nil, false, nil
		}
		if it.Has("all") {
			return slices.Concat(ast.Conjunction{}, slices.Concat(nested...)), true, nil
		}
		return []ast.DetectionItem{{Position: it.Position, Nested: nested}}, true, nil
	})
}

// inferScalar returns a string as the kind of scalar that it looks like.
func inferScalar(s string, p ast.Position) ast.Scalar {
	v := literalScalar(s, p)
	if low := strings.ToLower(s); low == "null" || low == "none" {
		return ast.Scalar{Kind: ast.Null, Position: p}
	}
	if _, ok := decimal.Parse(s); ok && (s == "0" || s[0] != '0') {
		v.Kind, v.Text = ast.Number, s
	}
	return v
}
