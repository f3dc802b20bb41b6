package sigma

import "slices"

// A conjunct is what must happen and what must not, as indexes into Rules,
// both in the order of the list.
type conjunct struct{ with, without []int }

// cast works out how the correlation is to be evaluated.
func (rel *relation) cast() error {
	switch rel.Type {
	case EventCount, ValueCount, ValueSum:
		for _, b := range rel.bounds {
			rel.judged = rel.judged || b.op != "gt" && b.op != "gte"
		}
		return nil
	case ValueAvg, ValuePercentile, ValueMedian:
		rel.judged = true
		return nil
	}
	return rel.castTemporal()
}

// maxConjuncts bounds the cases that a condition comes down to.
const maxConjuncts = 64

func (rel *relation) castTemporal() error {
	n := len(rel.Rules)
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	if rel.condition == nil {
		if len(rel.bounds) == 0 || rel.all() {
			rel.bounds, rel.cases = nil, []conjunct{{with: all}}
			return nil
		}
		if rel.Type == TemporalOrdered {
			return errorAt(rel.place, "a correlation of type temporal_ordered needs all of its rules").withHint("leave the condition out, or name rules in it")
		}
		for _, b := range rel.bounds {
			rel.judged = rel.judged || b.op != "gt" && b.op != "gte"
		}
		return nil
	}
	cases, ok := rel.condition.cases(false)
	if !ok {
		return errorAt(rel.place, "the condition has more than %d alternatives", maxConjuncts)
	}
	for _, c := range cases {
		slices.Sort(c.with)
		slices.Sort(c.without)
		c.with, c.without = slices.Compact(c.with), slices.Compact(c.without)
		if slices.ContainsFunc(c.with, func(i int) bool { return slices.Contains(c.without, i) }) {
			continue
		}
		if len(c.with) == 0 {
			return errorAt(rel.place, "the condition holds when nothing happens").withHint("join what must not happen by and to something that must")
		}
		rel.judged = rel.judged || len(c.without) > 0
		rel.cases = append(rel.cases, c)
	}
	if len(rel.cases) == 0 {
		return errorAt(rel.place, "the condition can't hold")
	}
	return nil
}

// all reports whether the bounds ask for each of the rules, no more and no less.
func (rel *relation) all() bool {
	n := float64(len(rel.Rules))
	b := rel.bounds[0]
	return len(rel.bounds) == 1 && (b.op == "gte" || b.op == "eq") && b.limit == n || len(rel.bounds) == 1 && b.op == "gt" && b.limit == n-1
}

// cases returns the condition's disjunctive normal form, or that of its
// negation.
func (c *condition) cases(not bool) ([]conjunct, bool) {
	switch {
	case c.op == condIs && not:
		return []conjunct{{without: []int{c.detection}}}, true
	case c.op == condIs:
		return []conjunct{{with: []int{c.detection}}}, true
	case c.op == condNot:
		return c.kids[0].cases(!not)
	case (c.op == condOr) != not:
		var out []conjunct
		for i := range c.kids {
			kid, ok := c.kids[i].cases(not)
			if out = append(out, kid...); !ok || len(out) > maxConjuncts {
				return nil, false
			}
		}
		return out, true
	}
	out := []conjunct{{}}
	for i := range c.kids {
		kid, ok := c.kids[i].cases(not)
		if !ok || len(out)*len(kid) > maxConjuncts {
			return nil, false
		}
		var product []conjunct
		for _, a := range out {
			for _, b := range kid {
				product = append(product, conjunct{slices.Concat(a.with, b.with), slices.Concat(a.without, b.without)})
			}
		}
		out = product
	}
	return out, true
}
