package sigma

import (
	"slices"
	"strings"
)

// readHashes writes Hashes: 'MD5=...' as a field for each algorithm.
func readHashes(s *spec, _ string) transformation {
	algos, prefix, drop := s.list("valid_hash_algos"), s.text("field_prefix", false), s.flag("drop_algo_prefix")
	fields := s.list("field_to_parse")
	if fields == nil {
		fields = []string{"Hashes", "Hash"}
	}
	return onItems(func(_ *pipelineRun, it item) ([]item, bool, *lineError) {
		values := it.starred().values
		if it.keyword || !slices.Contains(fields, it.field) || !it.readable() || slices.ContainsFunc(values, func(v scalar) bool { return v.kind != String }) {
			return nil, false, nil
		}
		var order []string
		byField := make(map[string][]scalar)
		for _, v := range values {
			algo, hash := splitHash(v.shown())
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
			byField[field] = append(byField[field], scalar{kind: String, text: pattern{{literal, hash}}.written(false), place: v.place})
		}
		if order == nil {
			return nil, false, errorAt(place{}, "no value of %s is a hash of a valid algorithm (%s)", it.field, strings.Join(algos, ", "))
		}
		var nested []allOf
		for _, f := range order {
			one := item{field: f, keyword: f == "" || f == "keyword", values: byField[f], place: it.place}
			if it.has("neq") {
				one.modifiers = []string{"neq"}
			}
			nested = append(nested, allOf{one})
		}
		if len(nested) == 1 {
			return nested[0], true, nil
		}
		return []item{{place: it.place, nested: nested}}, true, nil
	})
}

// splitHash returns the algorithm, by its name or else by the length of the
// hash, and the hash.
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

// readExtract makes a field of each named group of an expression.
func readExtract(s *spec, _ string) transformation {
	re, prefix, keep := s.regex("regex", true), s.text("field_prefix", false), s.flag("preserve_unmatched")
	if !slices.ContainsFunc(re.SubexpNames(), func(n string) bool { return n != "" }) {
		s.fail(placeOf(s.node), "the expression of extract_fields has no named group")
	}
	return onItems(func(_ *pipelineRun, it item) ([]item, bool, *lineError) {
		values := it.starred().values
		if !it.readable() || slices.ContainsFunc(values, func(v scalar) bool { return v.kind != String }) {
			return nil, false, nil
		}
		var nested []allOf
		for _, v := range values {
			m := re.FindStringSubmatch(v.shown())
			if m == nil && keep {
				nested = append(nested, allOf{{field: it.field, keyword: it.keyword, values: []scalar{v}, place: it.place}})
			}
			var all allOf
			for i, name := range re.SubexpNames() {
				if m == nil || name == "" || m[i] == "" {
					continue
				}
				if prefix != "" {
					name = prefix + "." + name
				}
				all = append(all, item{field: name, values: []scalar{extracted(m[i], v.place)}, place: it.place})
			}
			if all != nil {
				nested = append(nested, all)
			}
		}
		if nested == nil {
			return nil, false, nil
		}
		if it.has("all") {
			return slices.Concat(allOf{}, slices.Concat(nested...)), true, nil
		}
		return []item{{place: it.place, nested: nested}}, true, nil
	})
}

// extracted is a text as the value it looks like.
func extracted(s string, p place) scalar {
	v := scalar{kind: String, text: pattern{{literal, s}}.written(false), place: p}
	if low := strings.ToLower(s); low == "null" || low == "none" {
		return scalar{kind: Null, place: p}
	}
	if _, ok := parseDecimal(s); ok && (s == "0" || s[0] != '0') {
		v.kind, v.text = Number, s
	}
	return v
}
