package sigma

import (
	"slices"
	"strings"
	"unicode"
)

// A mapField says which fields are instead of one, and whether any are; the
// field of keywords is "".
type mapField func(field string) (to []string, ok bool)

// onFields is a transformation of the names of fields, wherever these stand.
func onFields(m mapField) transformation {
	return transformation{func(r *pipelineRun, p *processingItem) *lineError {
		rename := func(field string) []string {
			to, ok := m(field)
			if !ok || !p.matchesField(r, field) {
				return []string{field}
			}
			r.moved(field, to, p.id)
			return to
		}
		var fields []string
		for _, f := range r.meta.Fields {
			fields = append(fields, rename(f)...)
		}
		r.meta.Fields = fields
		if r.corr != nil {
			return r.corr.rename(rename)
		}
		return onItems(func(r *pipelineRun, it item) ([]item, bool, *lineError) {
			out, changed := it.mapReferences(rename, func(f string) bool { return p.matchesField(r, f) })
			to, ok := m(it.fieldName())
			if !ok || !p.matchesField(r, it.fieldName()) {
				return []item{out}, changed, nil
			}
			r.mapped[it.fieldName()] = true
			for _, f := range to {
				r.mapped[f] = true
			}
			return out.mapField(to), true, nil
		}).transform(r, p)
	}}
}

// moved keeps track of what was applied to a field, under its new names.
func (r *pipelineRun) moved(from string, to []string, id string) {
	if len(to) == 1 && to[0] == from {
		return
	}
	ids := r.fields[from]
	delete(r.fields, from)
	for _, f := range to {
		set := map[string]bool{}
		if id != "" {
			set[id] = true
		}
		for k := range ids {
			set[k] = true
		}
		r.fields[f] = set
	}
}

// mapReferences renames the fields that the values of fieldref name.
func (it item) mapReferences(rename func(string) []string, matches func(string) bool) (item, bool) {
	if !it.has("fieldref") {
		return it, false
	}
	var values []scalar
	changed := false
	for _, v := range it.values {
		name := v.shown()
		if v.kind != String || !matches(name) {
			values = append(values, v)
			continue
		}
		changed = true
		for _, to := range rename(name) {
			w := v
			w.text = pattern{{literal, to}}.written(false)
			values = append(values, w)
		}
	}
	it.values = values
	return it, changed
}

// mapField returns the item for one or for any of several fields. Keywords
// that get a field are searched for within its values still.
func (it item) mapField(to []string) []item {
	if it.keyword {
		it.keyword = false
		if it.readable() && !it.hasAny("contains", "startswith", "endswith") {
			it.modifiers = append(slices.Clip(it.modifiers), "contains")
		}
	}
	switch len(to) {
	case 0:
		return nil
	case 1:
		it.field = to[0]
		return []item{it}
	}
	var nested []allOf
	for _, f := range to {
		one := it
		one.field = f
		nested = append(nested, allOf{one})
	}
	return []item{{place: it.place, nested: nested}}
}

// rename maps the fields of a correlation: those of aliases, those that it
// groups by unless they are aliases, and that of its condition.
func (c *Correlation) rename(rename func(string) []string) *lineError {
	one := func(field, what string) (string, *lineError) {
		to := rename(field)
		if len(to) != 1 {
			return "", errorAt(place{}, "the field %s of %s is mapped to %d fields, where one is needed", field, what, len(to))
		}
		return to[0], nil
	}
	var err *lineError
	aliases := make(map[string]map[string]string, len(c.Aliases))
	for alias, of := range c.Aliases {
		aliases[alias] = make(map[string]string, len(of))
		for rule, field := range of {
			if aliases[alias][rule], err = one(field, "the alias "+alias); err != nil {
				return err
			}
		}
	}
	var group []string
	for _, f := range c.GroupBy {
		if _, ok := c.Aliases[f]; ok {
			group = append(group, f)
		} else {
			group = append(group, rename(f)...)
		}
	}
	fields := slices.Clone(c.fields)
	for i, f := range fields {
		if _, ok := c.Aliases[f]; ok {
			continue
		}
		if fields[i], err = one(f, "the condition"); err != nil {
			return err
		}
	}
	if c.Aliases != nil {
		c.Aliases = aliases
	}
	c.GroupBy, c.fields = group, fields
	return nil
}

func readMapping(s *spec, _ string) transformation {
	m := s.fieldMap()
	return onFields(func(f string) ([]string, bool) {
		if f == "" {
			return m.keyword, m.keyword != nil
		}
		to, ok := m.fields[f]
		return to, ok
	})
}

func readPrefixMapping(s *spec, _ string) transformation {
	m := s.fieldMap()
	return onFields(func(f string) ([]string, bool) {
		for _, prefix := range m.order {
			if rest, ok := strings.CutPrefix(f, prefix); ok && f != "" {
				var to []string
				for _, p := range m.fields[prefix] {
					to = append(to, p+rest)
				}
				return to, true
			}
		}
		return nil, false
	})
}

func readPrefix(s *spec, _ string) transformation {
	prefix := s.text("prefix", true)
	return onFields(func(f string) ([]string, bool) { return []string{prefix + f}, f != "" })
}

func readSuffix(s *spec, _ string) transformation {
	suffix := s.text("suffix", true)
	return onFields(func(f string) ([]string, bool) { return []string{f + suffix}, f != "" })
}

// readFieldFunction knows a few functions by name: those of pySigma are
// written in Python, and pipelines in files can't have them.
func readFieldFunction(s *spec, _ string) transformation {
	functions := map[string]func(string) string{"lower": strings.ToLower, "upper": strings.ToUpper, "snake_case": snakeCase}
	f := functions[s.one("transform_func", "lower", "upper", "snake_case")]
	m := s.fieldMap()
	s.flag("apply_keyword") // a keyword has no name to be transformed
	return onFields(func(field string) ([]string, bool) {
		if field == "" {
			return nil, false
		}
		if to, ok := m.fields[field]; ok {
			return to, true
		}
		return []string{f(field)}, true
	})
}

// snakeCase writes ParentImage as parent_image.
func snakeCase(s string) string {
	var b strings.Builder
	runes := []rune(s)
	for i, c := range runes {
		word := i > 0 && unicode.IsUpper(c) && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if word && runes[i-1] != '_' && (unicode.IsLetter(runes[i-1]) || unicode.IsDigit(runes[i-1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}
