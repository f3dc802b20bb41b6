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
	m := s.fieldMap("mapping").fields
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
