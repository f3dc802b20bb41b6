package ast

import (
	"slices"
	"strings"
)

// An outcome says whether a part of a detection block can hold, and whether it can fail,
// for events with certain fields.
type outcome struct{ canHold, canFail bool }

// CanHold reports whether the detection block can hold for an event that has only fields
// for which hasField returns true. It knows which fields are there, but not their values,
// so it may report true for a block that no event fulfils, never the reverse. missing are
// the other fields that the searches name, sorted.
func (d *Detections) CanHold(hasField func(name string) bool) (ok bool, missing []string) {
	for it := range d.TopLevelItems() {
		if !it.Keyword && it.Nested == nil && !hasField(it.Field) {
			missing = append(missing, it.Field)
		}
	}
	slices.Sort(missing)
	outcomes := make([]outcome, len(d.Searches))
	for i := range d.Searches {
		outcomes[i] = anyConjunction(d.Searches[i].Alternatives, hasField)
	}
	for i := range d.Conditions {
		ok = ok || d.Conditions[i].outcome(outcomes).canHold
	}
	return ok, slices.Compact(missing)
}

// anyConjunction returns the outcome of alternatives.
func anyConjunction(alternatives []Conjunction, hasField func(string) bool) outcome {
	out := outcome{canFail: true}
	for _, c := range alternatives {
		all := outcome{canHold: true}
		for i := range c {
			o := c[i].outcome(hasField)
			all.canHold, all.canFail = all.canHold && o.canHold, all.canFail || o.canFail
		}
		out.canHold, out.canFail = out.canHold || all.canHold, out.canFail && all.canFail
	}
	return out
}

func (it *DetectionItem) outcome(hasField func(string) bool) outcome {
	switch {
	case it.Nested != nil:
		return anyConjunction(it.Nested, hasField)
	case it.Keyword || hasField(it.Field):
		return outcome{true, true}
	case it.Has("exists"):
		wantsField := len(it.Values) > 0 && strings.EqualFold(it.Values[0].Text, "true")
		return outcome{canHold: !wantsField, canFail: wantsField}
	case it.Has("neq") || slices.ContainsFunc(it.Values, func(v Scalar) bool { return v.Kind == Null }):
		return outcome{true, true} // a missing field can fulfil these
	}
	return outcome{canFail: true}
}

// outcome returns the outcome of the condition, given those of its operands.
func (c *Condition) outcome(operands []outcome) outcome {
	switch c.Op {
	case Ref:
		return operands[c.Index]
	case Not:
		o := c.Operands[0].outcome(operands)
		return outcome{o.canFail, o.canHold}
	}
	out := outcome{canHold: c.Op == And, canFail: c.Op == Or}
	for i := range c.Operands {
		o := c.Operands[i].outcome(operands)
		if c.Op == And {
			out.canHold, out.canFail = out.canHold && o.canHold, out.canFail || o.canFail
		} else {
			out.canHold, out.canFail = out.canHold || o.canHold, out.canFail && o.canFail
		}
	}
	return out
}

// CanHold reports whether the correlation can hold if only the rules for which canFire
// returns true have matches. silent are the others that it refers to.
func (c *Correlation) CanHold(canFire func(ref string) bool) (ok bool, silent []string) {
	outcomes := make([]outcome, len(c.Rules))
	for i, ref := range c.Rules {
		outcomes[i] = outcome{canHold: canFire(ref), canFail: true}
		if !outcomes[i].canHold {
			silent = append(silent, ref)
		}
	}
	switch {
	case c.Condition != nil:
		return c.Condition.outcome(outcomes).canHold, silent
	case c.Type == Temporal || c.Type == TemporalOrdered:
		return len(silent) == 0, silent
	}
	return len(silent) < len(c.Rules), silent
}
