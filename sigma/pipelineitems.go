package sigma

import (
	"slices"
	"strings"
)

// named reports whether it is of the field; keywords are of none.
func (it *item) named(field string) bool { return !it.keyword && it.field == field }

// readable reports whether the values are texts and numbers to compare with,
// rather than expressions, networks, other fields or encoded texts.
func (it *item) readable() bool {
	return !it.hasAny("re", "cidr", "fieldref", "exists", "lt", "lte", "gt", "gte", "minute", "hour", "day", "week", "month", "year",
		"base64", "base64offset", "wide", "utf16", "utf16le", "utf16be", "windash")
}

// starred returns the item with contains, startswith and endswith written as
// stars, which is how pipelines see values.
func (it *item) starred() item {
	out := *it
	if it.keyword || !it.readable() || !it.hasAny("contains", "startswith", "endswith") {
		return out
	}
	expand := it.has("expand")
	out.modifiers = slices.DeleteFunc(slices.Clone(it.modifiers), func(m string) bool { return m == "contains" || m == "startswith" || m == "endswith" })
	out.values = slices.Clone(it.values)
	for i, v := range out.values {
		if v.kind == Null {
			continue // an error of Compile
		}
		p := pattern{{literal, v.text}}
		if v.kind == String {
			p = parsePattern(v.text, expand)
		}
		for _, m := range it.modifiers {
			switch m {
			case "contains":
				p = p.withStars(true, true)
			case "startswith":
				p = p.withStars(false, true)
			case "endswith":
				p = p.withStars(true, false)
			}
		}
		out.values[i].kind, out.values[i].text = String, p.written(expand)
	}
	return out
}

// written returns the pattern as a rule writes it; parsePattern reads it back.
func (p pattern) written(placeholders bool) string {
	var b strings.Builder
	for _, q := range p {
		switch q.kind {
		case star:
			b.WriteByte('*')
		case question:
			b.WriteByte('?')
		case placeholder:
			b.WriteString("%" + q.text + "%")
		default:
			for i := range len(q.text) {
				if c := q.text[i]; isSpecial(c) || placeholders && c == '%' {
					b.WriteByte('\\')
				}
				b.WriteByte(q.text[i])
			}
		}
	}
	return b.String()
}

// shown returns a text as expressions of pipelines see it: wildcards as they
// are, and what was escaped without its backslash.
func (s scalar) shown() string {
	var b strings.Builder
	for _, q := range parsePattern(s.text, false) {
		switch q.kind {
		case star:
			b.WriteByte('*')
		case question:
			b.WriteByte('?')
		default:
			b.WriteString(q.text)
		}
	}
	return b.String()
}

// equal compares values as they stand, case included.
func (s scalar) equal(other scalar) bool {
	if s.kind != other.kind {
		return false
	}
	switch s.kind {
	case Number:
		return s.compare("eq", other)
	case String:
		return slices.Equal(parsePattern(s.text, false), parsePattern(other.text, false))
	}
	return s.text == other.text
}

// eachItem calls f for every item of the search, within nested ones too; what
// f returns takes the place of the item.
func (s *search) eachItem(f func(it item) ([]item, *lineError)) *lineError {
	for i := range s.detections {
		for k := range s.detections[i].alternatives {
			all, err := s.detections[i].alternatives[k].each(f)
			if err != nil {
				return err
			}
			s.detections[i].alternatives[k] = all
		}
	}
	return nil
}

func (all allOf) each(f func(it item) ([]item, *lineError)) (allOf, *lineError) {
	out := make(allOf, 0, len(all))
	for _, it := range all {
		if it.nested == nil {
			items, err := f(it)
			if err != nil {
				return nil, err
			}
			out = append(out, items...)
			continue
		}
		var nested []allOf
		for _, in := range it.nested {
			in, err := in.each(f)
			if err != nil {
				return nil, err
			}
			if len(in) > 0 {
				nested = append(nested, in)
			}
		}
		if nested != nil {
			it.nested = nested
			out = append(out, it)
		}
	}
	return out, nil
}

func (r *pipelineRun) hasItem(holds func(*item) bool) bool {
	found := false
	if r.search != nil {
		// It never fails, and changes nothing.
		_ = r.search.eachItem(func(it item) ([]item, *lineError) {
			found = found || holds(&it)
			return []item{it}, nil
		})
	}
	return found
}

// hasSource reports whether the document's logsource is within l or, of a
// correlation, that of one of its rules.
func (r *pipelineRun) hasSource(l LogSource) bool {
	if r.corr == nil {
		return l.Covers(*r.source)
	}
	return r.done.covered(r.corr.Rules, l, 0)
}

// maxChain bounds correlations over correlations.
const maxChain = 16

func (pack *Pack) covered(refs []string, l LogSource, depth int) bool {
	return depth < maxChain && slices.ContainsFunc(refs, func(ref string) bool {
		return slices.ContainsFunc(pack.Rules, func(rule *Rule) bool { return rule.isNamed(ref) && l.Covers(rule.LogSource) }) ||
			slices.ContainsFunc(pack.Correlations, func(c *Correlation) bool { return c.isNamed(ref) && pack.covered(c.Rules, l, depth+1) })
	})
}

// matches reports whether the conditions on items and on fields let an item be
// transformed.
func (p *processingItem) matches(r *pipelineRun, it *item) bool {
	return p.item.hold(func(c itemCondition) bool { return c(r, it) }) && p.field.hold(func(c fieldCondition) bool {
		if c.item != nil {
			return c.item(r, it)
		}
		if c.name(r, it.fieldName()) {
			return true
		}
		return it.has("fieldref") && slices.ContainsFunc(it.values, func(v scalar) bool { return c.name(r, v.shown()) })
	})
}

// matchesField is the same of the name of a field alone.
func (p *processingItem) matchesField(r *pipelineRun, field string) bool {
	return p.field.hold(func(c fieldCondition) bool { return c.name(r, field) })
}

// fieldName is the field, "" of keywords.
func (it *item) fieldName() string {
	if it.keyword {
		return ""
	}
	return it.field
}

// mark notes that the transformation was applied to an item.
func (p *processingItem) mark(it *item) {
	if p.id != "" && !slices.Contains(it.applied, p.id) {
		it.applied = append(slices.Clip(it.applied), p.id)
	}
}
