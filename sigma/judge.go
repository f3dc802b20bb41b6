package sigma

import (
	"encoding/json"
	"fmt"
	"slices"
)

// judge fires for the windows that ended, and whose events came, by until.
func (g *group) judge(c *Correlator, until int64) {
	if g.cases != nil {
		g.judgeAbsence(c, until)
		return
	}
	span := int64(g.Timespan)
	for {
		from := 0
		if g.judgedAny {
			from = g.first(g.judgedTo + 1)
		}
		if from == len(g.obs) {
			return
		}
		end := g.obs[from].at + span
		to := g.first(end + 1)
		if end > until && until != forever {
			return
		}
		for i := from; i < to; i++ {
			if g.obs[i].arrived > until {
				return
			}
		}
		g.judgedTo, g.judgedAny = end, true
		if hold(g.bounds, g.figure(g.obs[from:to])) {
			fresh := make([]int, 0, to-from)
			for i := from; i < to; i++ {
				fresh = append(fresh, i)
			}
			g.fire(c, fresh, to-1, g.obs[from].at)
		}
	}
}

const forever = 1<<63 - 1

// figure is what a window's bounds are about.
func (n *node) figure(window []observation) float64 {
	switch n.Type {
	case EventCount:
		return float64(len(window))
	case ValueCount:
		distinct := make(map[string]bool)
		for i := range window {
			distinct[window[i].value] = true
		}
		return float64(len(distinct))
	case Temporal:
		distinct := make(map[int]bool)
		for i := range window {
			distinct[window[i].input] = true
		}
		return float64(len(distinct))
	case ValueSum, ValueAvg:
		sum := 0.0
		for i := range window {
			sum += window[i].number
		}
		if n.Type == ValueAvg {
			sum /= float64(len(window))
		}
		return sum
	}
	numbers := make([]float64, len(window))
	for i := range window {
		numbers[i] = window[i].number
	}
	slices.Sort(numbers)
	if n.Type == ValueMedian {
		return quantile(numbers, 50)
	}
	return quantile(numbers, n.percentile)
}

// quantile returns a percentile of sorted numbers, with linear interpolation
// between the two nearest.
func quantile(numbers []float64, percentile float64) float64 {
	rank := percentile / 100 * float64(len(numbers)-1)
	low := int(rank)
	if low == len(numbers)-1 {
		return numbers[low]
	}
	return numbers[low] + (rank-float64(low))*(numbers[low+1]-numbers[low])
}

// judgeAbsence looks at each event as the last of what must happen, once it is
// too late for what must not.
func (g *group) judgeAbsence(c *Correlator, until int64) {
	span := int64(g.Timespan)
	from := 0
	if g.judgedAny {
		from = g.first(g.judgedTo + 1)
	}
	for i := from; i < len(g.obs); i++ {
		o := &g.obs[i]
		if until != forever && (o.at+span > until || o.arrived > until) {
			return
		}
		if i+1 == len(g.obs) || g.obs[i+1].at > o.at {
			g.judgedTo, g.judgedAny = o.at, true
		}
		for _, cs := range g.cases {
			if members := g.tightest(i, cs.with); members != nil && g.clean(members, cs) {
				fresh := slices.DeleteFunc(slices.Clone(members), func(i int) bool { return g.obs[i].fired })
				slices.Sort(fresh)
				g.fire(c, slices.Compact(fresh), i, g.obs[slices.Min(members)].at)
			}
		}
	}
}

// tightest returns for each of the inputs the latest observation within the
// timespan before observation last, which is one of them: in the order of
// inputs where that matters. It is nil where one is missing.
func (g *group) tightest(last int, inputs []int) []int {
	members := make([]int, len(inputs))
	end, ordered := last, g.Type == TemporalOrdered
	var used []string // the events of a sequence are distinct
	for k := len(inputs) - 1; k >= 0; k-- {
		switch {
		case g.obs[last].input == inputs[k] && (!ordered || k == len(inputs)-1):
			members[k] = last
		case ordered && k == len(inputs)-1:
			return nil
		default:
			members[k] = g.latest(inputs[k], g.obs[end].at, g.obs[last].at-int64(g.Timespan), used)
		}
		if members[k] < 0 {
			return nil
		}
		if ordered {
			end, used = members[k], append(used, g.obs[members[k]].event)
		}
	}
	if !slices.Contains(members, last) {
		return nil
	}
	return members
}

// latest returns the index of the latest observation of an input until a time,
// not before from and not of the events used, or -1.
func (g *group) latest(input int, until, from int64, used []string) int {
	for i := g.first(until+1) - 1; i >= 0 && g.obs[i].at >= from; i-- {
		if o := &g.obs[i]; o.input == input && !slices.Contains(used, o.event) {
			return i
		}
	}
	return -1
}

// clean reports whether nothing that must not happen did: anywhere where it
// would be within the timespan of all members, or for ordered ones between
// those that it is between in the list.
func (g *group) clean(members []int, cs conjunct) bool {
	first, last := g.obs[members[0]].at, g.obs[members[0]].at
	for _, m := range members {
		first, last = min(first, g.obs[m].at), max(last, g.obs[m].at)
	}
	for _, input := range cs.without {
		from, to := last-int64(g.Timespan), first+int64(g.Timespan)
		if g.Type == TemporalOrdered {
			k, _ := slices.BinarySearch(cs.with, input)
			if k > 0 {
				from = g.obs[members[k-1]].at
			}
			if k < len(members) {
				to = g.obs[members[k]].at
			}
		}
		for i := g.first(from); i < len(g.obs) && g.obs[i].at <= to; i++ {
			if g.obs[i].input == input {
				return false
			}
		}
	}
	return true
}

// A judged is what is left to know of the windows of a group that have been
// judged.
type judged struct {
	Rule   string   `json:"rule"`
	Values []string `json:"values"`
	To     int64    `json:"to"`
	Fed    []fed    `json:"fed,omitempty"`
}

// State returns what another Correlator of the same rules needs, before it is
// given the observations that are kept again, to go on where this one is: which
// windows have been judged. It is JSON that only Restore reads.
func (c *Correlator) State() []byte {
	all := []judged{}
	for _, n := range c.nodes {
		for _, g := range n.groups {
			if g.judgedAny {
				all = append(all, judged{n.ref(), g.values, g.judgedTo, g.fed})
			}
		}
	}
	data, err := json.Marshal(all)
	if err != nil {
		panic(err) // texts and numbers
	}
	return data
}

// Restore takes what State returned. What is about correlations that are not
// there is passed over.
func (c *Correlator) Restore(state []byte) error {
	var all []judged
	if err := json.Unmarshal(state, &all); err != nil {
		return fmt.Errorf("restore correlations: %w", err)
	}
	for _, j := range all {
		i := slices.IndexFunc(c.nodes, func(n *node) bool { return n.ref() == j.Rule })
		if i < 0 || !c.nodes[i].judged || len(c.nodes[i].GroupBy) != len(j.Values) {
			continue
		}
		g := c.nodes[i].group(j.Values)
		g.judgedTo, g.judgedAny, g.fed, g.restored = j.To, true, j.Fed, j.Fed
		for _, f := range j.Fed {
			g.feedOver(c, f)
		}
	}
	c.fired = nil
	return nil
}
