package sigma

import (
	"cmp"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// A group is the observations of one correlation that have the values of
// GroupBy in common.
type group struct {
	*node
	values []string
	obs    []observation // in the order of compare
	tally  tally         // of obs[low:], the window that ends with the last
	low    int

	// judgedTo is the time up to which windows have been judged.
	judgedTo  int64
	judgedAny bool
	fed       []fed           // of a judged node that others are over
	restored  []fed           // those of them that fired before a restart
	emitted   map[string]bool // events told of, where an input is a correlation
	outer     map[*group]bool // groups of the correlations over it that it has fed
}

// An observation is an event as a group keeps it. Times are Unix nanoseconds.
type observation struct {
	at, arrived int64
	input       int
	event       string
	context     any
	value       string       // that ValueCount counts
	number      float64      // that the other figures are of
	kept        []fieldValue // of relation.keep
	inner       *innerWindow // of an inner correlation's events
	fired       bool
}

// An innerWindow is the events of an inner group that made it fire.
type innerWindow struct {
	group    *group
	from, to int64
}

// measure reads the values that the condition is about. An event without them
// does not count.
func (n *node) measure(o *observation, values []fieldValue) bool {
	for _, v := range values {
		if !v.ok {
			return false
		}
	}
	switch n.Type {
	case ValueCount:
		if len(values) == 1 {
			o.value = values[0].text
			return true
		}
		var b strings.Builder
		for _, v := range values {
			b.WriteString(v.text)
			b.WriteByte(0)
		}
		o.value = b.String()
	case ValueSum, ValueAvg, ValuePercentile, ValueMedian:
		if _, ok := parseDecimal(values[0].text); !ok {
			return false
		}
		f, err := strconv.ParseFloat(values[0].text, 64)
		o.number = f
		return err == nil
	}
	return true
}

// insert puts o in its place, and reports whether it is new.
func (g *group) insert(o observation) (at int, fresh bool) {
	at = sort.Search(len(g.obs), func(i int) bool { return g.obs[i].compare(&o) >= 0 })
	if at < len(g.obs) && g.obs[at].compare(&o) == 0 {
		return at, false
	}
	for i := range g.restored {
		o.fired = o.fired || g.restored[i].From <= o.at && o.at <= g.restored[i].At
	}
	g.obs = slices.Insert(g.obs, at, o)
	return at, true
}

// compare orders observations by time, and those of one time by what does not
// depend on when they came.
func (o *observation) compare(p *observation) int {
	return cmp.Or(cmp.Compare(o.at, p.at), strings.Compare(o.event, p.event), cmp.Compare(o.input, p.input))
}

// first returns the index of the first observation at t or later.
func (g *group) first(t int64) int {
	return sort.Search(len(g.obs), func(i int) bool { return g.obs[i].at >= t })
}

// forget removes the observations that arrived before a time, and at most ties
// of those that arrived at it. It returns how many of both.
func (g *group) forget(before int64, ties int) (removed, tied int) {
	n := len(g.obs)
	maps.DeleteFunc(g.outer, func(over *group, _ bool) bool { return len(over.obs) == 0 })
	if len(g.emitted) > maxEmitted {
		clear(g.emitted) // some may be told of again
	}
	g.fed = slices.DeleteFunc(g.fed, func(f fed) bool { return f.Arrived < before })
	g.obs = slices.DeleteFunc(g.obs, func(o observation) bool {
		if o.arrived == before && tied < ties {
			tied++
			return true
		}
		return o.arrived < before
	})
	if len(g.obs) == n {
		return 0, 0
	}
	if cap(g.obs) > 64 && len(g.obs) < cap(g.obs)/4 {
		g.obs = slices.Clone(g.obs)
	}
	g.rewind(len(g.obs) - 1)
	return n - len(g.obs), tied
}

// maxEmitted bounds the events that a group remembers having told of.
const maxEmitted = 100_000

// rewind makes the tally that of the window that ends with observation last.
func (g *group) rewind(last int) {
	g.low = 0
	if g.tally == nil {
		return
	}
	g.tally.reset()
	if last < 0 {
		return
	}
	g.low = g.first(g.obs[last].at - int64(g.Timespan))
	for i := g.low; i <= last; i++ {
		g.tally.add(&g.obs[i])
	}
}

// slide looks at the windows that observation at, which has just come, is in.
func (g *group) slide(c *Correlator, at int) {
	if at == len(g.obs)-1 { // the common case: it is the latest
		g.step(at)
		g.check(c, at, latest)
		return
	}
	g.rewind(at)
	told := 0
	for last := at; last < len(g.obs) && g.obs[last].at <= g.obs[at].at+int64(g.Timespan); last++ {
		if last > at {
			g.step(last)
		}
		told = g.check(c, last, told)
	}
	g.rewind(len(g.obs) - 1)
}

// step moves the window on to end with observation last.
func (g *group) step(last int) {
	g.tally.add(&g.obs[last])
	for g.obs[g.low].at < g.obs[last].at-int64(g.Timespan) {
		g.tally.remove(&g.obs[g.low])
		g.low++
	}
}

// latest is the told of an observation that came in its order.
const latest = -1

// check fires if the window that ends with observation last does. Those before
// told have been told of; it returns the same for the next window.
func (g *group) check(c *Correlator, last, told int) int {
	window := g.obs[g.low : last+1]
	members, ok := g.tally.fires(window)
	if !ok {
		return told
	}
	var fresh []int
	for i := last; i >= max(g.low, told); i-- {
		if members != nil && !members[i-g.low] {
			continue
		}
		if !g.obs[i].fired {
			fresh = append(fresh, i)
		} else if told == latest && members == nil {
			break // what is before it was told of with it
		}
	}
	slices.Reverse(fresh)
	g.fire(c, fresh, last, g.obs[g.low].at)
	if members == nil {
		return last + 1
	}
	return 0
}

// fire tells of the observations fresh, and feeds the correlations over this
// one. The window is from from until observation last.
func (g *group) fire(c *Correlator, fresh []int, last int, from int64) {
	end := &g.obs[last]
	g.tell(c, fresh, end.at)
	for _, i := range fresh {
		g.obs[i].fired = true
	}
	if len(g.over) == 0 {
		return
	}
	f := fed{At: end.at, From: from, Arrived: end.arrived, Event: end.event, Kept: make(map[string]string), context: end.context}
	for i, name := range g.relation.keep {
		if i < len(end.kept) && end.kept[i].ok {
			f.Kept[name] = end.kept[i].text
		}
	}
	for i, name := range g.GroupBy {
		f.Kept[name] = g.values[i]
	}
	if g.judged {
		g.fed = append(g.fed, f)
	}
	g.feedOver(c, f)
	for _, i := range fresh {
		g.changed(c, g.obs[i].at)
	}
}

// tell is of the events of these observations that were not told of.
func (g *group) tell(c *Correlator, obs []int, at int64) {
	if len(obs) == 0 || g.silent {
		return
	}
	f := Firing{Correlation: &g.relation.Correlation, Time: time.Unix(0, at).UTC()}
	for i, name := range g.GroupBy {
		f.Group = append(f.Group, Evidence{Field: name, Value: g.values[i]})
	}
	for _, i := range obs {
		f.Events = g.expand(&g.obs[i], f.Events)
	}
	if len(f.Events) > 0 {
		c.fired = append(c.fired, f)
	}
}

// widen takes note that what observation i stands for goes back further than
// was known.
func (g *group) widen(c *Correlator, i int, from int64) {
	inner := g.obs[i].inner
	if inner == nil || inner.from <= from {
		return
	}
	inner.from = from
	g.retell(c, i)
}

// changed tells the groups over g that an event at a time has come to be one
// of those that made g fire.
func (g *group) changed(c *Correlator, at int64) {
	for over := range g.outer {
		for i := range over.obs {
			if w := over.obs[i].inner; w != nil && w.group == g && w.from <= at && at <= w.to {
				over.retell(c, i)
			}
		}
	}
}

// retell tells of what observation i stands for by now, if it has fired.
func (g *group) retell(c *Correlator, i int) {
	if g.obs[i].fired {
		g.tell(c, []int{i}, g.obs[i].at)
		g.changed(c, g.obs[i].at)
	}
}

// A fed is a firing that was fed to the correlations over its own.
type fed struct {
	At      int64             `json:"at"`
	From    int64             `json:"from"`
	Arrived int64             `json:"arrived"`
	Event   string            `json:"event"`
	Kept    map[string]string `json:"kept"`
	context any
}

func (g *group) feedOver(c *Correlator, f fed) {
	for _, over := range g.over {
		c.add(over, observation{
			at: f.At, arrived: f.Arrived, input: over.input, event: f.Event, context: f.context,
			kept: pick(f.Kept, over.node.relation.keep), inner: &innerWindow{g, f.From, f.At},
		}, pick(f.Kept, over.inputs[over.input].fields))
	}
}

// expand appends the events behind an observation that were not told of.
func (g *group) expand(o *observation, events []Observed) []Observed {
	if !g.inner {
		return append(events, Observed{o.event, time.Unix(0, o.at).UTC(), o.context})
	}
	if g.emitted == nil {
		g.emitted = make(map[string]bool)
	}
	for _, e := range o.events(nil) {
		if !g.emitted[e.Event] {
			g.emitted[e.Event] = true
			events = append(events, e)
		}
	}
	return events
}

// events appends the events that an observation stands for.
func (o *observation) events(out []Observed) []Observed {
	if o.inner == nil {
		return append(out, Observed{o.event, time.Unix(0, o.at).UTC(), o.context})
	}
	g := o.inner.group
	for i := g.first(o.inner.from); i < len(g.obs) && g.obs[i].at <= o.inner.to; i++ {
		if g.obs[i].fired {
			out = g.obs[i].events(out)
		}
	}
	return out
}
