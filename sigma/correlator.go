package sigma

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// An Observation is an event on which a rule fired, as correlations see it.
type Observation struct {
	Rule  string    // the rule's ID, or its Name where it has none
	Event string    // names the event; the same twice at one Time is once
	Time  time.Time // of the event
	// Arrived is when the event came to be known, by the clock that Advance is
	// called with. It decides how long the event is kept.
	Arrived time.Time
	// Fields holds at least those of Rule.Observed that the event has.
	Fields map[string]string
	// Context is the caller's, and comes back with the event.
	Context any
}

// A Firing says that a correlation fires.
type Firing struct {
	Correlation *Correlation
	Time        time.Time  // of the event that completed it
	Group       []Evidence // the fields of GroupBy and their values
	// Events are those that made it, without those that an earlier Firing of
	// the same correlation and group had, in the order of their times.
	Events []Observed
}

// Observed is an event that made a correlation fire.
type Observed struct {
	Event   string
	Time    time.Time
	Context any
}

// CorrelatorOptions bound what a Correlator waits for and keeps. Zero fields
// take the values named.
type CorrelatorOptions struct {
	// Wait is how long after the end of a window, and after the last of its
	// events came, it is judged what did not happen in it; 10 seconds.
	Wait time.Duration
	// Late is how much later than others of its window an event may come and
	// still count; an hour.
	Late time.Duration
	// MaxObservations is how many events are kept, each counted once for every
	// correlation; 1,000,000. Past it, the eighth that arrived first is evicted.
	MaxObservations int
}

// A Correlator holds the state of the correlations of a RuleSet: the events of
// the time that they look back on, by group. It belongs to one goroutine.
//
// What fires does not depend on the order in which events come, within
// CorrelatorOptions.Late, nor on how often. Conditions that more events can't
// undo (gt and gte on counts and sums, and temporal ones without not) fire as
// soon as they hold, over any window of the timespan. The others are judged
// when a window has ended, by Advance: for figures, a window begins with the
// first event of a group that is in none before.
type Correlator struct {
	opt     CorrelatorOptions
	nodes   []*node
	feeds   map[string][]feed // by rule
	count   int               // observations kept
	dropped int64
	fired   []Firing
	swept   time.Time
}

// A node is the state of one correlation.
type node struct {
	*relation
	groups map[string]*group
	over   []feed
	keep   time.Duration
	inner  bool // an input is a correlation
}

// A feed is where an observation goes: an input of a node.
type feed struct {
	*node
	input int
}

// NewCorrelator returns a Correlator that has seen nothing.
func NewCorrelator(rs *RuleSet, o CorrelatorOptions) *Correlator {
	o.Wait = cmp.Or(o.Wait, 10*time.Second)
	o.Late = cmp.Or(o.Late, time.Hour)
	o.MaxObservations = cmp.Or(o.MaxObservations, 1_000_000)
	c := &Correlator{opt: o, feeds: make(map[string][]feed)}
	byRelation := make(map[*relation]*node)
	for _, rel := range rs.relations {
		n := &node{relation: rel, groups: make(map[string]*group)}
		byRelation[rel] = n
		c.nodes = append(c.nodes, n)
		for i, in := range rel.inputs {
			f := feed{n, i}
			if in.inner == nil {
				c.feeds[in.ref] = append(c.feeds[in.ref], f)
				continue
			}
			n.inner = true
			inner := byRelation[in.inner]
			inner.over = append(inner.over, f)
		}
	}
	for _, n := range slices.Backward(c.nodes) {
		n.keep = 2 * n.Timespan
		for _, f := range n.over {
			n.keep = max(n.keep, n.Timespan+f.keep)
		}
	}
	return c
}

// Observe takes an event, and appends to dst the correlations that fire.
func (c *Correlator) Observe(o Observation, dst []Firing) []Firing {
	c.fired = dst
	for _, f := range c.feeds[o.Rule] {
		in := f.inputs[f.input]
		c.add(f, observation{
			at: o.Time.UnixNano(), arrived: o.Arrived.UnixNano(), input: f.input,
			event: o.Event, context: o.Context, kept: pick(o.Fields, f.node.relation.keep),
		}, pick(o.Fields, in.fields))
	}
	if c.count > c.opt.MaxObservations {
		c.evict()
	}
	return c.take()
}

// A fieldValue is a field's value, or that there is none.
type fieldValue struct {
	text string
	ok   bool
}

func pick(fields map[string]string, names []string) []fieldValue {
	if len(names) == 0 {
		return nil
	}
	out := make([]fieldValue, len(names))
	for i, name := range names {
		out[i].text, out[i].ok = fields[name]
	}
	return out
}

// take returns what fired, and forgets it.
func (c *Correlator) take() []Firing {
	fired := c.fired
	c.fired = nil
	return fired
}

// add puts an observation into the group that values name.
func (c *Correlator) add(f feed, o observation, values []fieldValue) {
	by := len(f.GroupBy)
	for _, v := range values[:by] {
		if !v.ok {
			return // no group
		}
	}
	if !f.measure(&o, values[by:]) {
		return
	}
	texts := make([]string, by)
	for i, v := range values[:by] {
		texts[i] = v.text
	}
	g := f.group(texts)
	if o.inner != nil {
		o.inner.group.outer[g] = true
	}
	at, fresh := g.insert(o)
	if !fresh {
		if o.inner != nil {
			g.widen(c, at, o.inner.from)
		}
		return
	}
	c.count++
	if !f.judged {
		g.slide(c, at)
	}
}

// group returns the group of these values of GroupBy.
func (n *node) group(values []string) *group {
	var key strings.Builder
	for _, v := range values {
		key.WriteString(v)
		key.WriteByte(0)
	}
	g := n.groups[key.String()]
	if g == nil {
		g = &group{node: n, values: values, tally: n.newTally(), outer: make(map[*group]bool)}
		n.groups[key.String()] = g
	}
	return g
}

// Advance judges the windows that have ended by now, forgets what no
// correlation looks back on any more, and appends to dst what fires. It is to
// be called every few seconds.
func (c *Correlator) Advance(now time.Time, dst []Firing) []Firing {
	c.fired = dst
	until := now.Add(-c.opt.Wait).UnixNano()
	for _, n := range c.nodes { // inner ones first, which feed the outer
		if n.judged {
			for _, g := range n.groups {
				g.judge(c, until)
			}
		}
	}
	if now.Sub(c.swept) > time.Minute {
		c.swept = now
		for _, n := range c.nodes {
			before := now.Add(-n.keep - c.opt.Late).UnixNano()
			for key := range n.groups {
				c.forget(n, key, before, 0)
			}
		}
	}
	return c.take()
}

// Flush judges all windows as if everything had come, and appends to dst what
// fires.
func (c *Correlator) Flush(dst []Firing) []Firing {
	c.fired = dst
	for _, n := range c.nodes {
		if n.judged {
			for _, g := range n.groups {
				g.judge(c, 1<<63-1)
			}
		}
	}
	return c.take()
}

// Horizon is how long after it arrived an observation may still matter.
func (c *Correlator) Horizon() time.Duration {
	var d time.Duration
	for _, n := range c.nodes {
		d = max(d, n.keep)
	}
	return d + c.opt.Late
}

// Dropped returns how many observations were given up to stay within
// CorrelatorOptions.MaxObservations.
func (c *Correlator) Dropped() int64 { return c.dropped }

// Len returns how many observations are kept.
func (c *Correlator) Len() int { return c.count }

// forget removes the observations of a group that arrived before a time, and at
// most ties of those that arrived at it. A group that is empty then goes too.
func (c *Correlator) forget(n *node, key string, before int64, ties int) (removed, tied int) {
	g := n.groups[key]
	removed, tied = g.forget(before, ties)
	if len(g.obs) == 0 {
		delete(n.groups, key)
	}
	c.count -= removed
	return removed, tied
}

// evict removes the eighth of the observations that arrived first. Of those
// that arrived at one time, the first go by correlation, group and event, so
// that what is left does not depend on the order of a map.
func (c *Correlator) evict() {
	arrived := make([]int64, 0, c.count)
	for _, n := range c.nodes {
		for _, g := range n.groups {
			for i := range g.obs {
				arrived = append(arrived, g.obs[i].arrived)
			}
		}
	}
	slices.Sort(arrived)
	last := arrived[len(arrived)/8]
	earlier, _ := slices.BinarySearch(arrived, last)
	ties := len(arrived)/8 + 1 - earlier
	for _, n := range c.nodes {
		for _, key := range slices.Sorted(maps.Keys(n.groups)) {
			removed, tied := c.forget(n, key, last, ties)
			c.dropped += int64(removed)
			ties -= tied
		}
	}
}
