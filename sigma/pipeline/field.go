package pipeline

import (
	"slices"
	"strings"
	"unicode"

	"github.com/picket-edr/picket/sigma/ast"
)

// A fieldMapping returns the fields that replace a field, and whether it maps
// the field at all. The field of keywords is "".
type fieldMapping func(field string) (to []string, ok bool)

// onFields returns a transformation of field names, wherever they occur.
func onFields(m fieldMapping) transformFunc {
	return transformFunc{func(st *applyState, p *processingItem) *ast.Diagnostic {
		rename := func(field string) []string {
			to, ok := m(field)
			if !ok || !p.matchesField(st, field) {
				return []string{field}
			}
			st.moveAppliedToRenamed(field, to, p.id)
			return to
		}
		var fields []string
		for _, f := range st.meta.Fields {
			fields = append(fields, rename(f)...)
		}
		st.meta.Fields = fields
		if st.correlation != nil {
			return renameCorrelationFields(st.correlation, rename)
		}
		return onItems(func(st *applyState, it ast.DetectionItem) ([]ast.DetectionItem, bool, *ast.Diagnostic) {
			out, changed := renameFieldRefs(it, rename, func(f string) bool { return p.matchesField(st, f) })
			to, ok := m(fieldName(&it))
			if !ok || !p.matchesField(st, fieldName(&it)) {
				return []ast.DetectionItem{out}, changed, nil
			}
			st.mapped[fieldName(&it)] = true
			for _, f := range to {
				st.mapped[f] = true
			}
			return mapItemToFields(out, to), true, nil
		}).transform(st, p)
	}}
}

// moveAppliedToRenamed notes that a transformation renamed a field: what was applied to
// the field before counts for its new names.
func (st *applyState) moveAppliedToRenamed(oldField string, newFields []string, itemID string) {
	if len(newFields) == 1 && newFields[0] == oldField {
		return
	}
	ids := st.fields[oldField]
	delete(st.fields, oldField)
	for _, f := range newFields {
		set := map[string]bool{}
		if itemID != "" {
			set[itemID] = true
		}
		for k := range ids {
			set[k] = true
		}
		st.fields[f] = set
	}
}

// renameFieldRefs renames the fields that the values of a fieldref name, and
// reports whether there are any.
func renameFieldRefs(it ast.DetectionItem, rename func(string) []string, matches func(string) bool) (renamed ast.DetectionItem, found bool) {
	if !it.Has("fieldref") {
		return it, false
	}
	var values []ast.Scalar
	for _, v := range it.Values {
		name := unescapedText(v)
		if v.Kind != ast.String || !matches(name) {
			values = append(values, v)
			continue
		}
		found = true
		for _, to := range rename(name) {
			values = append(values, literalScalar(to, v.Position))
		}
	}
	it.Values = values
	return it, found
}

// mapItemToFields returns the item for another field, or for any of several. Keywords
// that get a field are still searched for anywhere in its values.
func mapItemToFields(it ast.DetectionItem, fields []string) []ast.DetectionItem {
	if it.Keyword {
		it.Keyword = false
		if hasPlainValues(&it) && !it.HasAny("contains", "startswith", "endswith") {
			it.Modifiers = append(slices.Clip(it.Modifiers), "contains")
		}
	}
	switch len(fields) {
	case 0:
		return nil
	case 1:
		it.Field = fields[0]
		return []ast.DetectionItem{it}
	}
	var nested []ast.Conjunction
	for _, f := range fields {
		one := it
		one.Field = f
		nested = append(nested, ast.Conjunction{one})
	}
	return []ast.DetectionItem{{Position: it.Position, Nested: nested}}
}

// renameCorrelationFields renames the fields of a correlation: those that aliases stand
// for, and those of group-by and of the condition unless these are aliases.
func renameCorrelationFields(c *ast.Correlation, rename func(string) []string) *ast.Diagnostic {
	one := func(field, what string) (string, *ast.Diagnostic) {
		to := rename(field)
		if len(to) != 1 {
			return "", ast.ErrorAt(ast.Position{}, "the field %s of %s is mapped to %d fields, where one is needed", field, what, len(to))
		}
		return to[0], nil
	}
	var err *ast.Diagnostic
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
	fields := slices.Clone(c.ValueFields)
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
	c.GroupBy, c.ValueFields = group, fields
	return nil
}

func readFieldMapping(r *mapReader, _ string) transformFunc {
	m := r.fieldMap()
	return onFields(func(f string) ([]string, bool) {
		if f == "" {
			return m.keyword, m.keyword != nil
		}
		to, ok := m.fields[f]
		return to, ok
	})
}

func readFieldPrefixMapping(r *mapReader, _ string) transformFunc {
	m := r.fieldMap()
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

func readFieldPrefix(r *mapReader, _ string) transformFunc {
	prefix := r.text("prefix", true)
	return onFields(func(f string) ([]string, bool) { return []string{prefix + f}, f != "" })
}

func readFieldSuffix(r *mapReader, _ string) transformFunc {
	suffix := r.text("suffix", true)
	return onFields(func(f string) ([]string, bool) { return []string{f + suffix}, f != "" })
}

// readFieldTransform reads field_name_transform, which applies a function by
// name. Those of pySigma are written in Python; a few are built in here.
func readFieldTransform(r *mapReader, _ string) transformFunc {
	functions := map[string]func(string) string{"lower": strings.ToLower, "upper": strings.ToUpper, "snake_case": snakeCase}
	f := functions[r.oneOf("transform_func", "lower", "upper", "snake_case")]
	m := r.fieldMap()
	r.flag("apply_keyword") // keywords have no field name
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

// snakeCase converts ParentImage to parent_image.
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
