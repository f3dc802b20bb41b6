package correlation

import "github.com/picket-edr/picket/sigma/ast"

// An aggregator follows a sliding window, for a monotonic condition.
type aggregator interface {
	add(o *observation)
	remove(o *observation)
	reset()
	// satisfied reports whether the condition holds, and which observations of
	// the window contribute to that; nil means all. The slice is valid until the
	// next call.
	satisfied(window []observation) (members []bool, ok bool)
}

// newAggregator returns nil for a deferred correlation.
func (s *ruleState) newAggregator() aggregator {
	if s.deferred {
		return nil
	}
	switch s.Type {
	case ast.EventCount:
		return &countAggregator{comparisons: s.Comparisons}
	case ast.ValueCount:
		return &distinctAggregator{comparisons: s.Comparisons, counts: make(map[string]int)}
	case ast.ValueSum:
		return &sumAggregator{comparisons: s.Comparisons}
	}
	return &temporalAggregator{ruleState: s, counts: make([]int, len(s.inputs))}
}

func satisfies(comparisons []ast.Comparison, v float64) bool {
	for _, c := range comparisons {
		if !c.Holds(v) {
			return false
		}
	}
	return true
}

// A countAggregator counts events.
type countAggregator struct {
	comparisons []ast.Comparison
	n           int
}

func (a *countAggregator) add(*observation)    { a.n++ }
func (a *countAggregator) remove(*observation) { a.n-- }
func (a *countAggregator) reset()              { a.n = 0 }
func (a *countAggregator) satisfied([]observation) (members []bool, ok bool) {
	return nil, satisfies(a.comparisons, float64(a.n))
}

// A distinctAggregator counts distinct values.
type distinctAggregator struct {
	comparisons []ast.Comparison
	counts      map[string]int
}

func (a *distinctAggregator) add(o *observation) { a.counts[o.value]++ }
func (a *distinctAggregator) remove(o *observation) {
	if a.counts[o.value]--; a.counts[o.value] == 0 {
		delete(a.counts, o.value)
	}
}
func (a *distinctAggregator) reset() { clear(a.counts) }
func (a *distinctAggregator) satisfied([]observation) (members []bool, ok bool) {
	return nil, satisfies(a.comparisons, float64(len(a.counts)))
}

// A sumAggregator adds numbers up.
type sumAggregator struct {
	comparisons []ast.Comparison
	sum         float64
}

func (a *sumAggregator) add(o *observation)    { a.sum += o.number }
func (a *sumAggregator) remove(o *observation) { a.sum -= o.number }
func (a *sumAggregator) reset()                { a.sum = 0 }
func (a *sumAggregator) satisfied([]observation) (members []bool, ok bool) {
	return nil, satisfies(a.comparisons, a.sum)
}

// A temporalAggregator counts the observations of each input.
type temporalAggregator struct {
	*ruleState
	counts   []int // by input
	distinct int   // inputs with a count
	members  []bool
}

func (a *temporalAggregator) add(o *observation) {
	if a.counts[o.input]++; a.counts[o.input] == 1 {
		a.distinct++
	}
}

func (a *temporalAggregator) remove(o *observation) {
	if a.counts[o.input]--; a.counts[o.input] == 0 {
		a.distinct--
	}
}

func (a *temporalAggregator) reset() {
	clear(a.counts)
	a.distinct = 0
}

func (a *temporalAggregator) satisfied(window []observation) (members []bool, ok bool) {
	if a.clauses == nil {
		return nil, satisfies(a.Comparisons, float64(a.distinct))
	}
	any := false
	for _, cl := range a.clauses {
		if !a.hasAll(cl.required) {
			continue
		}
		if !any {
			a.members = append(a.members[:0], make([]bool, len(window))...)
		}
		if a.Type == ast.TemporalOrdered {
			any = markSequences(window, cl.required, a.members) || any
			continue
		}
		any = true
		if len(cl.required) == len(a.inputs) {
			return nil, true
		}
		for i := range window {
			for _, input := range cl.required {
				if window[i].input == input {
					a.members[i] = true
				}
			}
		}
	}
	return a.members, any
}

func (a *temporalAggregator) hasAll(inputs []int) bool {
	for _, i := range inputs {
		if a.counts[i] == 0 {
			return false
		}
	}
	return true
}

// markSequences marks the observations that are part of a sequence of distinct
// events with these inputs in this order, and reports whether there is any.
// Events of one time may be in any order.
func markSequences(window []observation, inputs []int, members []bool) (found bool) {
	before := sequenceReaches(window, inputs, false)
	after := sequenceReaches(window, inputs, true)
	for i := range window {
		if before[i] && after[i] {
			members[i], found = true, true
		}
	}
	return found
}

// sequenceReaches reports for each observation whether a sequence of the inputs leads
// up to it or, backward, from it to the end.
func sequenceReaches(window []observation, inputs []int, backward bool) []bool {
	n, last := len(window), len(inputs)-1
	at := func(i int) int { // the i-th observation in the direction
		if backward {
			return n - 1 - i
		}
		return i
	}
	ok := make([]bool, n)
	// By step, up to two events that reached it: two, so that one of them
	// differs from any event of the next step.
	seen := make([][2]string, len(inputs))
	count := make([]int, len(inputs))
	for i := 0; i < n; {
		end := i
		for end < n && window[at(end)].at == window[at(i)].at {
			end++
		}
		for k := range inputs {
			input := inputs[k]
			if backward {
				input = inputs[last-k]
			}
			for j := i; j < end; j++ {
				o := &window[at(j)]
				if o.input != input {
					continue
				}
				if k > 0 && !(count[k-1] > 0 && seen[k-1][0] != o.event || count[k-1] > 1) {
					continue
				}
				ok[at(j)] = true
				if count[k] == 0 || count[k] == 1 && seen[k][0] != o.event {
					seen[k][count[k]] = o.event
					count[k]++
				}
			}
		}
		i = end
	}
	return ok
}
