package ast

import "slices"

// A Condition is a boolean expression over numbered operands: over the
// searches of a detection block, or over the rules of a correlation. Selectors
// such as "1 of selection_*" are expanded.
type Condition struct {
	Op       ConditionOp
	Operands []Condition // of And, Or and Not
	Index    int         // of Ref: which search or rule
}

// A ConditionOp is the operator of a Condition.
type ConditionOp uint8

// The operators. Not has one operand. Ref has none and stands for the search
// or rule that Index selects.
const (
	Ref ConditionOp = iota
	And
	Or
	Not
)

// Eval evaluates the condition; holds gives the value of each Ref.
func (c *Condition) Eval(holds func(index int) bool) bool {
	switch c.Op {
	case Ref:
		return holds(c.Index)
	case Not:
		return !c.Operands[0].Eval(holds)
	case And:
		return !slices.ContainsFunc(c.Operands, func(k Condition) bool { return !k.Eval(holds) })
	}
	return slices.ContainsFunc(c.Operands, func(k Condition) bool { return k.Eval(holds) })
}

// FirstUnusedOperand returns the first of operandCount operands that the condition
// does not refer to, or -1 if it refers to all.
func (c *Condition) FirstUnusedOperand(operandCount int) (index int) {
	used := make([]bool, operandCount)
	c.MarkUsedOperands(used)
	return slices.Index(used, false)
}

// MarkUsedOperands sets used[i] for each operand i that the condition refers to.
func (c *Condition) MarkUsedOperands(used []bool) {
	if c.Op == Ref {
		used[c.Index] = true
	}
	for i := range c.Operands {
		c.Operands[i].MarkUsedOperands(used)
	}
}
