package correlation

import (
	"slices"

	"github.com/picket-edr/picket/sigma/ast"
)

// A clause is a conjunction of a condition in disjunctive normal form: which
// inputs must have matched and which must not, as indexes into Rules in
// ascending order.
type clause struct{ required, negated []int }

// planEvaluation decides how the condition is evaluated.
func (r *Rule) planEvaluation() *ast.Diagnostic {
	switch r.Type {
	case ast.EventCount, ast.ValueCount, ast.ValueSum:
		r.deferred = !r.isMonotonic()
		return nil
	case ast.ValueAvg, ast.ValuePercentile, ast.ValueMedian:
		r.deferred = true
		return nil
	}
	return r.planTemporal()
}

// isMonotonic reports whether the comparisons, once they hold for a count, hold
// for any larger one.
func (r *Rule) isMonotonic() bool {
	return !slices.ContainsFunc(r.Comparisons, func(c ast.Comparison) bool { return c.Op != "gt" && c.Op != "gte" })
}

// maxClauses is how many clauses a condition may have.
const maxClauses = 64

// planTemporal plans a temporal correlation: as clauses, or, if its condition compares
// the number of rules that matched, as a count of those.
func (r *Rule) planTemporal() *ast.Diagnostic {
	if r.Condition == nil {
		if len(r.Comparisons) == 0 || r.requiresAllRules() {
			all := make([]int, len(r.Rules))
			for i := range all {
				all[i] = i
			}
			r.Comparisons, r.clauses = nil, []clause{{required: all}}
			return nil
		}
		if r.Type == ast.TemporalOrdered {
			return ast.ErrorAt(r.ConditionPosition, "a correlation of type temporal_ordered needs all of its rules").WithHint("leave the condition out, or name rules in it")
		}
		r.deferred = !r.isMonotonic()
		return nil
	}
	clauses, ok := disjunctiveNormalForm(r.Condition, false)
	if !ok {
		return ast.ErrorAt(r.ConditionPosition, "the condition has more than %d alternatives", maxClauses)
	}
	for _, c := range clauses {
		slices.Sort(c.required)
		slices.Sort(c.negated)
		c.required, c.negated = slices.Compact(c.required), slices.Compact(c.negated)
		if slices.ContainsFunc(c.required, func(i int) bool { return slices.Contains(c.negated, i) }) {
			continue
		}
		if len(c.required) == 0 {
			return ast.ErrorAt(r.ConditionPosition, "the condition holds when nothing happens").WithHint("join what must not happen by and to something that must")
		}
		r.deferred = r.deferred || len(c.negated) > 0
		r.clauses = append(r.clauses, c)
	}
	if len(r.clauses) == 0 {
		return ast.ErrorAt(r.ConditionPosition, "the condition can't hold")
	}
	return nil
}

// requiresAllRules reports whether the comparisons require each of the rules.
func (r *Rule) requiresAllRules() bool {
	if len(r.Comparisons) != 1 {
		return false
	}
	n, c := float64(len(r.Rules)), r.Comparisons[0]
	return (c.Op == "gte" || c.Op == "eq") && c.Value == n || c.Op == "gt" && c.Value == n-1
}

// disjunctiveNormalForm returns the disjunctive normal form of a condition, or that of its
// negation; false if it is too long.
func disjunctiveNormalForm(c *ast.Condition, negate bool) (clauses []clause, ok bool) {
	switch {
	case c.Op == ast.Ref && negate:
		return []clause{{negated: []int{c.Index}}}, true
	case c.Op == ast.Ref:
		return []clause{{required: []int{c.Index}}}, true
	case c.Op == ast.Not:
		return disjunctiveNormalForm(&c.Operands[0], !negate)
	case (c.Op == ast.Or) != negate:
		var out []clause
		for i := range c.Operands {
			more, ok := disjunctiveNormalForm(&c.Operands[i], negate)
			if out = append(out, more...); !ok || len(out) > maxClauses {
				return nil, false
			}
		}
		return out, true
	}
	out := []clause{{}}
	for i := range c.Operands {
		factor, ok := disjunctiveNormalForm(&c.Operands[i], negate)
		if !ok || len(out)*len(factor) > maxClauses {
			return nil, false
		}
		var product []clause
		for _, a := range out {
			for _, b := range factor {
				product = append(product, clause{slices.Concat(a.required, b.required), slices.Concat(a.negated, b.negated)})
			}
		}
		out = product
	}
	return out, true
}
