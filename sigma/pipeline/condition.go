package pipeline

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/parser"
	"github.com/picket-edr/picket/sigma/internal/pattern"
	"github.com/picket-edr/picket/sigma/internal/suggest"
	"github.com/picket-edr/picket/sigma/internal/yamldoc"
)

// The conditions of transformations: on documents, on items, and on field
// names wherever they occur.
type (
	ruleCondition  func(*applyState) bool
	itemCondition  func(*applyState, *ast.DetectionItem) bool
	fieldCondition struct {
		name func(*applyState, string) bool
		item func(*applyState, *ast.DetectionItem) bool // nil: name decides, for the item's field or one that it refers to
	}
)

// conditions are the conditions of one kind of a transformation.
type conditions[T any] struct {
	list []T
	any  bool           // one is enough
	not  bool           // the transformation is applied if they do not hold
	expr *ast.Condition // over list, or nil
}

// evaluate reports whether the conditions hold; holds gives the result of each.
// Like in pySigma, an empty list holds, unless any is set.
func (c *conditions[T]) evaluate(holds func(T) bool) bool {
	var ok bool
	switch {
	case c.expr != nil:
		ok = c.expr.Eval(func(i int) bool { return holds(c.list[i]) })
	case c.any:
		ok = slices.ContainsFunc(c.list, holds)
	default:
		ok = !slices.ContainsFunc(c.list, func(t T) bool { return !holds(t) })
	}
	return ok != c.not
}

// readConditions reads the conditions of one kind: a list, or a mapping to
// whose keys an expression refers.
func readConditions[T any](r *mapReader, kind string, read func(r *mapReader, kind string) T) conditions[T] {
	var c conditions[T]
	c.any = r.oneOf(kind+"_cond_op", "and", "or") == "or"
	c.not = r.flag(kind + "_cond_not")
	var names []string
	add := func(name string, node *yaml.Node) {
		in := r.innerReader(node, "a condition")
		what := in.text("type", true)
		in.what = "the condition " + what
		c.list = append(c.list, read(in, what))
		in.rejectUnreadKeys()
		names = append(names, name)
	}
	kv, ok := r.take(kind + "_conditions")
	switch {
	case !ok || yamldoc.IsNull(kv.Value):
	case kv.Value.Kind == yaml.SequenceNode:
		for _, n := range kv.Value.Content {
			add("", n)
		}
	default:
		for _, kv := range r.mapping(kind + "_conditions") {
			add(kv.Name, kv.Value)
		}
	}
	expr, ok := r.take(kind + "_cond_expr")
	if !ok || r.err != nil {
		return c
	}
	if _, both := r.byKey[kind+"_cond_op"]; both {
		r.fail(yamldoc.PositionOf(expr.Key), "%s_cond_expr and %s_cond_op exclude each other", kind, kind)
		return c
	}
	cond, err := parser.ParseCondition(expr.Value, names)
	if err != nil {
		r.recordError(err)
		return c
	}
	if i := cond.FirstUnusedOperand(len(c.list)); i >= 0 {
		r.fail(yamldoc.PositionOf(expr.Value), "the expression does not name the condition %q", names[i])
	}
	c.expr = &cond
	return c
}

func failUnknownCondition(r *mapReader, what string, known ...string) {
	if r.err == nil {
		r.recordError(yamldoc.ErrorAt(r.byKey["type"].Value, "unknown condition %q", what).WithHint(suggest.DidYouMean(what, known, "one of "+strings.Join(known, ", "))))
	}
}

func readRuleCondition(r *mapReader, what string) ruleCondition {
	switch what {
	case "logsource":
		l := readLogSource(r)
		return func(st *applyState) bool { return st.hasLogSource(l) }
	case "contains_detection_item":
		field, value := r.text("field", true), readValueParameter(r)
		return func(st *applyState) bool {
			return st.hasItem(func(it *ast.DetectionItem) bool {
				return hasFieldName(it, field) && slices.ContainsFunc(withModifiersAsStars(it).Values, func(v ast.Scalar) bool { return equalScalars(v, value) })
			})
		}
	case "contains_field":
		field := r.text("field", true)
		return func(st *applyState) bool {
			return st.hasItem(func(it *ast.DetectionItem) bool { return hasFieldName(it, field) })
		}
	case "processing_item_applied":
		id := r.text("processing_item_id", true)
		return func(st *applyState) bool { return st.applied[id] }
	case "processing_state":
		return readStateCondition(r)
	case "is_sigma_rule":
		return func(st *applyState) bool { return st.correlation == nil }
	case "is_sigma_correlation_rule":
		return func(st *applyState) bool { return st.correlation != nil }
	case "rule_attribute":
		return readAttributeCondition(r)
	case "tag":
		tag := r.text("tag", true)
		return func(st *applyState) bool { return slices.Contains(st.meta.Tags, tag) }
	}
	failUnknownCondition(r, what, "logsource", "contains_detection_item", "contains_field", "processing_item_applied", "processing_state",
		"is_sigma_rule", "is_sigma_correlation_rule", "rule_attribute", "tag")
	return nil
}

func readItemCondition(r *mapReader, what string) itemCondition {
	// onValues is a condition on any or all of the values, with contains and its
	// like written as stars.
	onValues := func(holds func(ast.Scalar) bool) itemCondition {
		r.what = "the condition " + what
		all := r.oneOf("cond", "any", "all") == "all"
		return func(_ *applyState, it *ast.DetectionItem) bool {
			values := withModifiersAsStars(it).Values
			if !hasPlainValues(it) {
				values = []ast.Scalar{{Kind: ast.Bool}} // which satisfies no condition
			}
			if all {
				return !slices.ContainsFunc(values, func(v ast.Scalar) bool { return !holds(v) })
			}
			return slices.ContainsFunc(values, holds)
		}
	}
	switch what {
	case "match_string":
		re, not := r.regex("pattern", true), r.flag("negate")
		return onValues(func(v ast.Scalar) bool { return (v.Kind == ast.String && re.MatchString(unescapedText(v))) != not })
	case "match_value":
		value := readValueParameter(r)
		return onValues(func(v ast.Scalar) bool { return equalScalars(v, value) })
	case "contains_wildcard":
		return onValues(func(v ast.Scalar) bool { return v.Kind == ast.String && pattern.Parse(v.Text, false).HasWildcard() })
	case "is_null":
		return onValues(func(v ast.Scalar) bool { return v.Kind == ast.Null })
	case "processing_item_applied":
		id := r.text("processing_item_id", true)
		return func(_ *applyState, it *ast.DetectionItem) bool { return slices.Contains(it.Applied, id) }
	case "processing_state":
		c := readStateCondition(r)
		return func(st *applyState, _ *ast.DetectionItem) bool { return c(st) }
	}
	failUnknownCondition(r, what, "match_string", "match_value", "contains_wildcard", "is_null", "processing_item_applied", "processing_state")
	return nil
}

func readFieldCondition(r *mapReader, what string) fieldCondition {
	switch what {
	case "include_fields", "exclude_fields":
		matches := readFieldMatcher(r)
		exclude := what == "exclude_fields"
		return fieldCondition{name: func(_ *applyState, f string) bool { return matches(f) != exclude }}
	case "processing_item_applied":
		id := r.text("processing_item_id", true)
		return fieldCondition{
			name: func(st *applyState, f string) bool { return st.fields[f][id] },
			item: func(_ *applyState, it *ast.DetectionItem) bool { return slices.Contains(it.Applied, id) },
		}
	case "processing_state":
		c := readStateCondition(r)
		return fieldCondition{name: func(st *applyState, _ string) bool { return c(st) }}
	}
	failUnknownCondition(r, what, "include_fields", "exclude_fields", "processing_item_applied", "processing_state")
	return fieldCondition{}
}

// readFieldMatcher reads a list of fields, or of expressions for them. It never
// matches "", the field of keywords.
func readFieldMatcher(r *mapReader) func(string) bool {
	fields := r.strings("fields")
	if r.oneOf("mode", "plain", "re") == "plain" {
		return func(f string) bool { return f != "" && slices.Contains(fields, f) }
	}
	alternatives := make([]string, len(fields))
	for i, f := range fields {
		alternatives[i] = "(?:" + f + ")"
	}
	re := r.compileRegexp(strings.Join(alternatives, "|"), yamldoc.PositionOf(r.node), true)
	return func(f string) bool { return f != "" && len(fields) > 0 && re.MatchString(f) }
}

// readValueParameter reads the parameter value.
func readValueParameter(r *mapReader) ast.Scalar {
	v, ok := r.scalar("value")
	if !ok {
		r.fail(yamldoc.PositionOf(r.node), "%s lacks value", r.what)
	}
	return v
}

func readLogSource(r *mapReader) ast.LogSource {
	return ast.LogSource{Product: r.text("product", false), Category: r.text("category", false), Service: r.text("service", false)}
}

// hasItem reports whether a condition holds for any item of the document.
func (st *applyState) hasItem(holds func(*ast.DetectionItem) bool) bool {
	found := false
	if st.detections != nil {
		// It never fails, and changes nothing.
		_ = replaceItems(st.detections, func(it ast.DetectionItem) ([]ast.DetectionItem, *ast.Diagnostic) {
			found = found || holds(&it)
			return []ast.DetectionItem{it}, nil
		})
	}
	return found
}

// hasLogSource reports whether l covers the document's logsource or, for a
// correlation, that of one of its rules.
func (st *applyState) hasLogSource(l ast.LogSource) bool {
	if st.correlation == nil {
		return l.Covers(*st.source)
	}
	return coversAnyRule(l, st.transformed, st.correlation.Rules, 0)
}

// maxCorrelationChain bounds correlations over correlations.
const maxCorrelationChain = 16

// coversAnyRule reports whether l covers the logsource of any of the rules.
func coversAnyRule(l ast.LogSource, c *ast.Collection, refs []string, depth int) bool {
	return depth < maxCorrelationChain && slices.ContainsFunc(refs, func(ref string) bool {
		return slices.ContainsFunc(c.Rules, func(r *ast.Rule) bool { return r.MatchesRef(ref) && l.Covers(r.LogSource) }) ||
			slices.ContainsFunc(c.Correlations, func(corr *ast.Correlation) bool {
				return corr.MatchesRef(ref) && coversAnyRule(l, c, corr.Rules, depth+1)
			})
	})
}

// matches reports whether the conditions on items and on field names hold for
// an item.
func (p *processingItem) matches(st *applyState, it *ast.DetectionItem) bool {
	return p.item.evaluate(func(c itemCondition) bool { return c(st, it) }) && p.field.evaluate(func(c fieldCondition) bool {
		if c.item != nil {
			return c.item(st, it)
		}
		if c.name(st, fieldName(it)) {
			return true
		}
		return it.Has("fieldref") && slices.ContainsFunc(it.Values, func(v ast.Scalar) bool { return c.name(st, unescapedText(v)) })
	})
}

// matchesField reports whether the conditions on field names hold for a field.
func (p *processingItem) matchesField(st *applyState, field string) bool {
	return p.field.evaluate(func(c fieldCondition) bool { return c.name(st, field) })
}
