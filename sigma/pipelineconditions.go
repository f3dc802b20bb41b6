package sigma

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The conditions of transformations: on documents, on items, and on the names
// of fields wherever these stand.
type (
	ruleCondition  func(*pipelineRun) bool
	itemCondition  func(*pipelineRun, *item) bool
	fieldCondition struct {
		name func(*pipelineRun, string) bool
		item func(*pipelineRun, *item) bool // nil: its field, or a field that it refers to
	}
)

// conditions are all conditions of one kind of a transformation.
type conditions[T any] struct {
	list []T
	any  bool       // one will do
	not  bool       // it is applied where they do not hold
	expr *condition // over list, or nil
}

// hold reports whether they hold, given what each says. Without any they do,
// unless one of none is asked for, as in pySigma.
func (c *conditions[T]) hold(ask func(T) bool) bool {
	var ok bool
	switch {
	case c.expr != nil:
		ok = c.expr.truth(func(i int) bool { return ask(c.list[i]) })
	case c.any:
		ok = slices.ContainsFunc(c.list, ask)
	default:
		ok = !slices.ContainsFunc(c.list, func(t T) bool { return !ask(t) })
	}
	return ok != c.not
}

// truth evaluates a condition, given what it is over.
func (c *condition) truth(of func(int) bool) bool {
	switch c.op {
	case condIs:
		return of(c.detection)
	case condNot:
		return !c.kids[0].truth(of)
	case condAnd:
		return !slices.ContainsFunc(c.kids, func(k condition) bool { return !k.truth(of) })
	}
	return slices.ContainsFunc(c.kids, func(k condition) bool { return k.truth(of) })
}

// readConditions reads the conditions of one kind: a list, or a mapping that
// an expression refers to.
func readConditions[T any](s *spec, kind string, read func(s *spec, kind string) T) conditions[T] {
	var c conditions[T]
	c.any = s.one(kind+"_cond_op", "and", "or") == "or"
	c.not = s.flag(kind + "_cond_not")
	names := &search{}
	add := func(name string, node *yaml.Node) {
		in := within(s.parser, node, "a condition", s.specError)
		what := in.text("type", true)
		in.what = "the condition " + what
		c.list = append(c.list, read(in, what))
		in.end()
		names.detections = append(names.detections, detection{name: name})
	}
	kv, ok := s.take(kind + "_conditions")
	switch {
	case !ok || isNull(kv.value):
	case kv.value.Kind == yaml.SequenceNode:
		for _, n := range kv.value.Content {
			add("", n)
		}
	default:
		for _, kv := range s.pairs(kind + "_conditions") {
			add(kv.name, kv.value)
		}
	}
	expr, ok := s.take(kind + "_cond_expr")
	if !ok || s.err != nil {
		return c
	}
	if _, both := s.byKey[kind+"_cond_op"]; both {
		s.fail(placeOf(expr.key), "%s_cond_expr and %s_cond_op exclude each other", kind, kind)
		return c
	}
	parser := condParser{parser: &parser{search: *names}, node: expr.value, tokens: condTokens(expr.value.Value)}
	cond, err := parser.parse()
	if err != nil {
		s.note(err)
		return c
	}
	used := make([]bool, len(c.list))
	cond.mark(used)
	if i := slices.Index(used, false); i >= 0 {
		s.fail(placeOf(expr.value), "the expression does not name the condition %q", names.detections[i].name)
	}
	c.expr = &cond
	return c
}

func unknownCondition(s *spec, what string, known ...string) {
	if s.err == nil {
		s.note(at(s.byKey["type"].value, "unknown condition %q", what).withHint(didYouMean(what, known, "one of "+strings.Join(known, ", "))))
	}
}

func readRuleCondition(s *spec, what string) ruleCondition {
	switch what {
	case "logsource":
		l := LogSource{Product: s.text("product", false), Category: s.text("category", false), Service: s.text("service", false)}
		return func(r *pipelineRun) bool { return r.hasSource(l) }
	case "contains_detection_item":
		field, value := s.text("field", true), readValue(s)
		return func(r *pipelineRun) bool {
			return r.hasItem(func(it *item) bool { return it.named(field) && slices.ContainsFunc(it.starred().values, value.equal) })
		}
	case "contains_field":
		field := s.text("field", true)
		return func(r *pipelineRun) bool { return r.hasItem(func(it *item) bool { return it.named(field) }) }
	case "processing_item_applied":
		id := s.text("processing_item_id", true)
		return func(r *pipelineRun) bool { return r.applied[id] }
	case "processing_state":
		return readState(s)
	case "is_sigma_rule":
		return func(r *pipelineRun) bool { return r.corr == nil }
	case "is_sigma_correlation_rule":
		return func(r *pipelineRun) bool { return r.corr != nil }
	case "rule_attribute":
		return readAttribute(s)
	case "tag":
		tag := s.text("tag", true)
		return func(r *pipelineRun) bool { return slices.Contains(r.meta.Tags, tag) }
	}
	unknownCondition(s, what, "logsource", "contains_detection_item", "contains_field", "processing_item_applied", "processing_state",
		"is_sigma_rule", "is_sigma_correlation_rule", "rule_attribute", "tag")
	return nil
}

func readItemCondition(s *spec, what string) itemCondition {
	// each asks any or all of the values, as they are after contains and its
	// like.
	each := func(holds func(scalar) bool) itemCondition {
		s.what = "the condition " + what
		all := s.one("cond", "any", "all") == "all"
		return func(_ *pipelineRun, it *item) bool {
			values := it.starred().values
			if !it.readable() {
				values = []scalar{{kind: Bool}} // nothing that could be asked for
			}
			if all {
				return !slices.ContainsFunc(values, func(v scalar) bool { return !holds(v) })
			}
			return slices.ContainsFunc(values, holds)
		}
	}
	switch what {
	case "match_string":
		re, not := s.regex("pattern", true), s.flag("negate")
		return each(func(v scalar) bool { return (v.kind == String && re.MatchString(v.shown())) != not })
	case "match_value":
		return each(readValue(s).equal)
	case "contains_wildcard":
		return each(func(v scalar) bool { return v.kind == String && parsePattern(v.text, false).hasWildcard() })
	case "is_null":
		return each(func(v scalar) bool { return v.kind == Null })
	case "processing_item_applied":
		id := s.text("processing_item_id", true)
		return func(_ *pipelineRun, it *item) bool { return slices.Contains(it.applied, id) }
	case "processing_state":
		c := readState(s)
		return func(r *pipelineRun, _ *item) bool { return c(r) }
	}
	unknownCondition(s, what, "match_string", "match_value", "contains_wildcard", "is_null", "processing_item_applied", "processing_state")
	return nil
}

func readFieldCondition(s *spec, what string) fieldCondition {
	switch what {
	case "include_fields", "exclude_fields":
		holds := readFields(s)
		exclude := what == "exclude_fields"
		return fieldCondition{name: func(_ *pipelineRun, f string) bool { return holds(f) != exclude }}
	case "processing_item_applied":
		id := s.text("processing_item_id", true)
		return fieldCondition{
			name: func(r *pipelineRun, f string) bool { return r.fields[f][id] },
			item: func(_ *pipelineRun, it *item) bool { return slices.Contains(it.applied, id) },
		}
	case "processing_state":
		c := readState(s)
		return fieldCondition{name: func(r *pipelineRun, _ string) bool { return c(r) }}
	}
	unknownCondition(s, what, "include_fields", "exclude_fields", "processing_item_applied", "processing_state")
	return fieldCondition{}
}

// readFields reads a list of fields, as they are or as expressions. The field
// of keywords, "", is in none.
func readFields(s *spec) func(string) bool {
	fields := s.list("fields")
	if s.one("mode", "plain", "re") == "plain" {
		return func(f string) bool { return f != "" && slices.Contains(fields, f) }
	}
	alts := make([]string, len(fields))
	for i, f := range fields {
		alts[i] = "(?:" + f + ")"
	}
	re := s.compile(strings.Join(alts, "|"), placeOf(s.node), true)
	return func(f string) bool { return f != "" && len(fields) > 0 && re.MatchString(f) }
}

// readValue reads the parameter value.
func readValue(s *spec) scalar {
	v, ok := s.value("value")
	if !ok {
		s.fail(placeOf(s.node), "%s lacks value", s.what)
	}
	return v
}
