package sigma

// A tally follows a window as it slides, for conditions that more events can't
// undo.
type tally interface {
	add(o *observation)
	remove(o *observation)
	reset()
	// fires reports whether the condition holds, and which of the window make
	// it so; nil means all. The slice is good until the next call.
	fires(window []observation) (members []bool, ok bool)
}

func (n *node) newTally() tally {
	if n.judged {
		return nil
	}
	switch n.Type {
	case EventCount:
		return &countTally{bounds: n.bounds}
	case ValueCount:
		return &distinctTally{bounds: n.bounds, counts: make(map[string]int)}
	case ValueSum:
		return &sumTally{bounds: n.bounds}
	}
	return &ruleTally{node: n, counts: make([]int, len(n.inputs))}
}

func hold(bounds []bound, v float64) bool {
	for _, b := range bounds {
		if !b.holds(v) {
			return false
		}
	}
	return true
}

type countTally struct {
	bounds []bound
	n      int
}

func (t *countTally) add(*observation)    { t.n++ }
func (t *countTally) remove(*observation) { t.n-- }
func (t *countTally) reset()              { t.n = 0 }
func (t *countTally) fires([]observation) ([]bool, bool) {
	return nil, hold(t.bounds, float64(t.n))
}

type distinctTally struct {
	bounds []bound
	counts map[string]int
}

func (t *distinctTally) add(o *observation) { t.counts[o.value]++ }
func (t *distinctTally) remove(o *observation) {
	if t.counts[o.value]--; t.counts[o.value] == 0 {
		delete(t.counts, o.value)
	}
}
func (t *distinctTally) reset() { clear(t.counts) }
func (t *distinctTally) fires([]observation) ([]bool, bool) {
	return nil, hold(t.bounds, float64(len(t.counts)))
}

type sumTally struct {
	bounds []bound
	sum    float64
}

func (t *sumTally) add(o *observation)    { t.sum += o.number }
func (t *sumTally) remove(o *observation) { t.sum -= o.number }
func (t *sumTally) reset()                { t.sum = 0 }
func (t *sumTally) fires([]observation) ([]bool, bool) {
	return nil, hold(t.bounds, t.sum)
}

// A ruleTally is that of the temporal types: which rules have fired.
type ruleTally struct {
	*node
	counts  []int // by input
	kinds   int   // of them that are not 0
	members []bool
}

func (t *ruleTally) add(o *observation) {
	if t.counts[o.input]++; t.counts[o.input] == 1 {
		t.kinds++
	}
}

func (t *ruleTally) remove(o *observation) {
	if t.counts[o.input]--; t.counts[o.input] == 0 {
		t.kinds--
	}
}

func (t *ruleTally) reset() {
	clear(t.counts)
	t.kinds = 0
}

func (t *ruleTally) fires(window []observation) ([]bool, bool) {
	if t.cases == nil {
		return nil, hold(t.bounds, float64(t.kinds))
	}
	any := false
	for _, c := range t.cases {
		if !t.all(c.with) {
			continue
		}
		if !any {
			t.members = append(t.members[:0], make([]bool, len(window))...)
		}
		if t.Type == TemporalOrdered {
			any = chain(window, c.with, t.members) || any
			continue
		}
		any = true
		if len(c.with) == len(t.inputs) {
			return nil, true
		}
		for i := range window {
			for _, input := range c.with {
				if window[i].input == input {
					t.members[i] = true
				}
			}
		}
	}
	return t.members, any
}

func (t *ruleTally) all(inputs []int) bool {
	for _, i := range inputs {
		if t.counts[i] == 0 {
			return false
		}
	}
	return true
}

// chain marks the members of window that are part of a sequence of distinct
// events with these inputs in this order, and reports whether there is one.
// Events of one time are in any order.
func chain(window []observation, inputs []int, members []bool) bool {
	before := reach(window, inputs, false)
	after := reach(window, inputs, true)
	found := false
	for i := range window {
		if before[i] && after[i] {
			members[i], found = true, true
		}
	}
	return found
}

// reach tells for each of window whether a sequence leads up to it or, from
// the end, on from it.
func reach(window []observation, inputs []int, back bool) []bool {
	n, last := len(window), len(inputs)-1
	at := func(i int) int { // the i-th of the window, in the direction
		if back {
			return n - 1 - i
		}
		return i
	}
	ok := make([]bool, n)
	seen := make([][2]string, len(inputs)) // events that got so far: two, so that one is another
	have := make([]int, len(inputs))
	for i := 0; i < n; {
		end := i
		for end < n && window[at(end)].at == window[at(i)].at {
			end++
		}
		for k := range inputs {
			input := inputs[k]
			if back {
				input = inputs[last-k]
			}
			for j := i; j < end; j++ {
				o := &window[at(j)]
				if o.input != input {
					continue
				}
				if k > 0 && !(have[k-1] > 0 && seen[k-1][0] != o.event || have[k-1] > 1) {
					continue
				}
				ok[at(j)] = true
				if have[k] == 0 || have[k] == 1 && seen[k][0] != o.event {
					seen[k][have[k]] = o.event
					have[k]++
				}
			}
		}
		i = end
	}
	return ok
}
