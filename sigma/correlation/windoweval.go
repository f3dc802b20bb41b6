package correlation

import (
	"slices"

	"github.com/picket-edr/picket/sigma/ast"
)

// endOfTimeNanos is a time after all others.
const endOfTimeNanos = 1<<63 - 1

// evaluateEndedWindows evaluates the windows that ended, and whose events arrived, by
// untilNanos. Windows are tumbling: each starts at the first observation after the
// window before.
func (b *bucket) evaluateEndedWindows(c *Correlator, untilNanos int64) {
	if b.clauses != nil {
		b.evaluateNegated(c, untilNanos)
		return
	}
	for {
		from := b.firstAfterWatermark()
		if from == len(b.obs) {
			return
		}
		end := b.obs[from].at + int64(b.Timespan)
		to := b.firstAtOrAfter(end + 1)
		if end > untilNanos && untilNanos != endOfTimeNanos {
			return
		}
		b.countSteps(to - from)
		for i := from; i < to; i++ {
			if b.obs[i].arrived > untilNanos {
				return
			}
		}
		b.watermark, b.hasWatermark = end, true
		if satisfies(b.Comparisons, b.aggregate(b.obs[from:to])) {
			all := make([]int, 0, to-from)
			for i := from; i < to; i++ {
				all = append(all, i)
			}
			b.emitMatch(c, all, to-1, b.obs[from].at)
		}
	}
}

// firstAfterWatermark returns the index of the first observation that no window has
// been evaluated for.
func (b *bucket) firstAfterWatermark() (index int) {
	if !b.hasWatermark {
		return 0
	}
	return b.firstAtOrAfter(b.watermark + 1)
}

// aggregate returns what the condition of a correlation compares, for a window.
func (s *ruleState) aggregate(window []observation) float64 {
	switch s.Type {
	case ast.EventCount:
		return float64(len(window))
	case ast.ValueCount:
		distinct := make(map[string]bool)
		for i := range window {
			distinct[window[i].value] = true
		}
		return float64(len(distinct))
	case ast.Temporal:
		distinct := make(map[int]bool)
		for i := range window {
			distinct[window[i].input] = true
		}
		return float64(len(distinct))
	case ast.ValueSum, ast.ValueAvg:
		sum := 0.0
		for i := range window {
			sum += window[i].number
		}
		if s.Type == ast.ValueAvg {
			sum /= float64(len(window))
		}
		return sum
	}
	numbers := make([]float64, len(window))
	for i := range window {
		numbers[i] = window[i].number
	}
	slices.Sort(numbers)
	if s.Type == ast.ValueMedian {
		return percentile(numbers, 50)
	}
	return percentile(numbers, s.Percentile)
}

// percentile returns a percentile of sorted numbers, interpolating linearly
// between the two nearest.
func percentile(numbers []float64, p float64) float64 {
	rank := p / 100 * float64(len(numbers)-1)
	low := int(rank)
	if low == len(numbers)-1 {
		return numbers[low]
	}
	return numbers[low] + (rank-float64(low))*(numbers[low+1]-numbers[low])
}

// evaluateNegated evaluates a temporal condition with not: for each observation
// as the last of those that are required, once no negated one can arrive any
// more.
func (b *bucket) evaluateNegated(c *Correlator, untilNanos int64) {
	span := int64(b.Timespan)
	for i := b.firstAfterWatermark(); i < len(b.obs); i++ {
		o := &b.obs[i]
		if untilNanos != endOfTimeNanos && (o.at+span > untilNanos || o.arrived > untilNanos) {
			return
		}
		if i+1 == len(b.obs) || b.obs[i+1].at > o.at {
			b.watermark, b.hasWatermark = o.at, true
		}
		for _, cl := range b.clauses {
			if members := b.latestMemberIndexes(i, cl.required); members != nil && b.negatedAbsent(members, cl) {
				unreported := slices.DeleteFunc(slices.Clone(members), func(i int) bool { return b.obs[i].reported })
				slices.Sort(unreported)
				b.emitMatch(c, slices.Compact(unreported), i, b.obs[slices.Min(members)].at)
			}
		}
	}
}

// latestMemberIndexes returns for each input the index of its latest observation in
// the window that ends with observation last, which is one of them. If the
// correlation is ordered, so are the members. It returns nil if one is missing.
func (b *bucket) latestMemberIndexes(last int, inputs []int) (indexes []int) {
	members := make([]int, len(inputs))
	end, ordered := last, b.Type == ast.TemporalOrdered
	var used []string // the events of a sequence are distinct
	for k := len(inputs) - 1; k >= 0; k-- {
		switch {
		case b.obs[last].input == inputs[k] && (!ordered || k == len(inputs)-1):
			members[k] = last
		case ordered && k == len(inputs)-1:
			return nil
		default:
			members[k] = b.latestObservation(inputs[k], b.obs[last].at-int64(b.Timespan), b.obs[end].at, used)
		}
		if members[k] < 0 {
			return nil
		}
		if ordered {
			end, used = members[k], append(used, b.obs[members[k]].event)
		}
	}
	if !slices.Contains(members, last) {
		return nil
	}
	return members
}

// latestObservation returns the index of an input's latest observation at until or
// before, but not before from and not of an excluded event, or -1.
func (b *bucket) latestObservation(input int, fromNanos, untilNanos int64, excludedEvents []string) (index int) {
	for i := b.firstAtOrAfter(untilNanos+1) - 1; i >= 0 && b.obs[i].at >= fromNanos; i-- {
		b.countSteps(1)
		if o := &b.obs[i]; o.input == input && !slices.Contains(excludedEvents, o.event) {
			return i
		}
	}
	return -1
}

// negatedAbsent reports whether no negated input was observed within the
// timespan of all members or, if the correlation is ordered, between the
// members that are its neighbours in the list of rules.
func (b *bucket) negatedAbsent(members []int, cl clause) bool {
	first, last := b.obs[members[0]].at, b.obs[members[0]].at
	for _, m := range members {
		first, last = min(first, b.obs[m].at), max(last, b.obs[m].at)
	}
	for _, input := range cl.negated {
		from, to := last-int64(b.Timespan), first+int64(b.Timespan)
		if b.Type == ast.TemporalOrdered {
			k, _ := slices.BinarySearch(cl.required, input)
			if k > 0 {
				from = b.obs[members[k-1]].at
			}
			if k < len(members) {
				to = b.obs[members[k]].at
			}
		}
		for i := b.firstAtOrAfter(from); i < len(b.obs) && b.obs[i].at <= to; i++ {
			b.countSteps(1)
			if b.obs[i].input == input {
				return false
			}
		}
	}
	return true
}
