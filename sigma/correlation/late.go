package correlation

import (
	"cmp"
	"maps"
	"slices"

	"github.com/picket-edr/picket/sigma/ast"
)

// batchLateAboveObservations is up to how many observations of a group those that arrive
// out of order are evaluated at once. In larger groups they are merged and evaluated together:
// otherwise each would cost as much as the group has observations, or their square.
const batchLateAboveObservations = 64

// MaxPerGroup is how many observations are kept of a group of a temporal correlation that
// is ordered or has a condition, and of correlations that refer to one another; for a
// count that is compared with more, twice that. Past it, the eighth that arrived first is
// evicted, of the input with most, so that a flood of one event evicts no other.
const MaxPerGroup = 1000

// hasMembers reports whether not all observations of a window contribute to a match.
func (r *Rule) hasMembers() bool {
	return r.clauses != nil && (r.Type == ast.TemporalOrdered || len(r.clauses) > 1 || len(r.clauses[0].required) < len(r.inputs))
}

// evaluateLate merges late observations and evaluates the windows that contain them,
// inner correlations first, since these add to the outer ones.
func (c *Correlator) evaluateLate() {
	for _, s := range c.states {
		for len(s.lateBuckets) > 0 {
			late := s.lateBuckets
			s.lateBuckets = nil
			for _, b := range late {
				b.mergeLate(c)
			}
		}
	}
}

// mergeLate merges the late observations and evaluates the windows that contain them.
func (b *bucket) mergeLate(c *Correlator) {
	late := b.late
	if len(late) == 0 {
		return
	}
	b.late = nil
	slices.SortFunc(late, func(x, y observation) int { return x.compare(&y) })
	n := 0
	for i := range late {
		o := &late[i]
		if n > 0 && late[n-1].compare(o) == 0 { // it arrived twice
			if o.inner != nil {
				late[n-1].inner.from = min(late[n-1].inner.from, o.inner.from)
			}
			c.count--
			c.bytes -= o.bytes()
			continue
		}
		o.reported = o.reported || b.matchedBeforeRestart(o.at)
		late[n] = *o
		n++
	}
	late = late[:n]
	first := len(b.obs)
	b.obs = slices.Grow(b.obs, n)[:len(b.obs)+n]
	for to, i, k := len(b.obs)-1, first-1, n-1; k >= 0; to-- {
		b.countSteps(1)
		if i >= 0 && b.obs[i].compare(&late[k]) > 0 {
			b.obs[to] = b.obs[i]
			i--
		} else {
			b.obs[to] = late[k]
			first = to
			k--
		}
	}
	if !b.deferred {
		b.evaluateWindowsOf(c, first, late[n-1].at)
	}
}

// evictFromLargestInput evicts the eighth of the observations that arrived first, of the input of
// which the bucket has most.
func (c *Correlator) evictFromLargestInput(b *bucket) {
	if len(b.late) > 0 && len(b.late) < b.maxPerGroup()/2 && len(b.obs) <= b.maxPerGroup() {
		return // so many more, so that merging costs little for each
	}
	b.mergeLate(c)
	byInput := make([]int, len(b.inputs))
	for i := range b.obs {
		byInput[b.obs[i].input]++
	}
	most := slices.Index(byInput, slices.Max(byInput))
	var arrived []int
	for i := range b.obs {
		if b.obs[i].input == most {
			arrived = append(arrived, i)
		}
	}
	slices.SortStableFunc(arrived, func(i, k int) int { return cmp.Compare(b.obs[i].arrived, b.obs[k].arrived) })
	drop := make([]bool, len(b.obs))
	n := len(b.obs) / 8
	b.countSteps(2 * len(b.obs))
	for _, i := range arrived[:min(n, len(arrived))] {
		drop[i] = true
		c.bytes -= b.obs[i].bytes()
		c.count--
		c.evicted++
	}
	kept := b.obs[:0]
	for i := range b.obs {
		if !drop[i] {
			kept = append(kept, b.obs[i])
		}
	}
	clear(b.obs[len(kept):])
	b.obs = kept
	b.rebuildAggregate(len(b.obs) - 1)
}

// addParent notes that b has added an observation to parent. It remembers up to twice
// MaxPerGroup parents, those with the latest observations.
func (b *bucket) addParent(parent *bucket) {
	b.parents[parent] = true
	if len(b.parents) <= 2*MaxPerGroup {
		return
	}
	delete(b.parents, parent)
	b.countSteps(len(b.parents))
	latest := func(p *bucket) int64 {
		if len(p.obs) == 0 {
			return -endOfTimeNanos
		}
		return p.obs[len(p.obs)-1].at
	}
	byTime := slices.SortedFunc(maps.Keys(b.parents), func(x, y *bucket) int {
		return cmp.Or(cmp.Compare(latest(x), latest(y)), cmp.Compare(x.IDOrName(), y.IDOrName()), slices.Compare(x.group, y.group))
	})
	for _, p := range byTime[:len(byTime)-MaxPerGroup] {
		delete(b.parents, p)
	}
	b.parents[parent] = true
}
