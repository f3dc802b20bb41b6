package correlation

import (
	"cmp"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/decimal"
)

// A bucket holds the observations of one correlation and group.
type bucket struct {
	*ruleState
	group []string      // the values of GroupBy
	obs   []observation // in the order of compare

	// aggregator is that of the window obs[start:], which ends with the last
	// observation. It is nil if the correlation is deferred.
	aggregator aggregator
	start      int

	// watermark is the time up to which windows have been evaluated.
	watermark    int64
	hasWatermark bool

	emissions     []emission // if the correlation is deferred and has parents
	emissionBytes int
	restored      []emission       // those from before a restart
	reported      map[string]bool  // events already reported, if an input is a correlation
	reportedBytes int              // of their ids
	parents       map[*bucket]bool // buckets of other correlations to which this one added
}

// bytes is about what an empty bucket takes in memory. The map of buckets has its
// group too.
func (b *bucket) bytes() int {
	n := 512
	for _, v := range b.group {
		n += 16 + 2*len(v)
	}
	return n
}

// An observation is an event in a bucket. Times are Unix nanoseconds.
type observation struct {
	at, arrived  int64
	input        int
	event        string
	context      any
	contextBytes int
	value        string       // that ValueCount counts
	number       float64      // that other types aggregate
	kept         []fieldValue // of keptFields
	inner        *innerWindow // if the input is a correlation
	reported     bool
}

// bytes is about what the observation takes in memory.
func (o *observation) bytes() int {
	n := 192 + len(o.event) + len(o.value) + o.contextBytes
	for _, v := range o.kept {
		n += 24 + len(v.text)
	}
	if o.inner != nil {
		n += 96 // with its entry in parents
	}
	return n
}

// An innerWindow is the window in which an inner correlation matched.
type innerWindow struct {
	bucket   *bucket
	from, to int64
}

// readValues reads the values that the condition counts or aggregates. It
// reports whether the event has them: one that has not does not count.
func (s *ruleState) readValues(o *observation, values []fieldValue) (present bool) {
	for _, v := range values {
		if !v.ok {
			return false
		}
	}
	switch s.Type {
	case ast.ValueCount:
		if len(values) == 1 {
			o.value = values[0].text
			return true
		}
		var b strings.Builder
		for _, v := range values {
			b.WriteString(v.text)
			b.WriteByte(0)
		}
		o.value = ShortenValue(b.String())
	case ast.ValueSum, ast.ValueAvg, ast.ValuePercentile, ast.ValueMedian:
		if _, ok := decimal.Parse(values[0].text); !ok {
			return false
		}
		f, err := strconv.ParseFloat(values[0].text, 64)
		o.number = f
		return err == nil
	}
	return true
}

// insert adds o and returns its index, and whether it is new.
func (b *bucket) insert(o observation) (index int, isNew bool) {
	index = sort.Search(len(b.obs), func(i int) bool { return b.obs[i].compare(&o) >= 0 })
	if index < len(b.obs) && b.obs[index].compare(&o) == 0 {
		return index, false
	}
	for i := range b.restored {
		o.reported = o.reported || b.restored[i].From <= o.at && o.at <= b.restored[i].At
	}
	b.obs = slices.Insert(b.obs, index, o)
	return index, true
}

// compare orders observations by time, and those of one time independently of
// their arrival.
func (o *observation) compare(p *observation) int {
	return cmp.Or(cmp.Compare(o.at, p.at), strings.Compare(o.event, p.event), cmp.Compare(o.input, p.input))
}

// firstAtOrAfter returns the index of the first observation at a time or later.
func (b *bucket) firstAtOrAfter(nanos int64) (index int) {
	return sort.Search(len(b.obs), func(i int) bool { return b.obs[i].at >= nanos })
}

// maxReportedEventsBytes bounds the set of reported events of a bucket.
const maxReportedEventsBytes = 8 << 20

// dropObservations removes the observations that arrived before a time, and at most maxTies of
// those that arrived at it. It returns how many of both, and how many bytes that frees.
func (b *bucket) dropObservations(beforeNanos int64, maxTies int) (droppedBefore, droppedTies, freedBytes int) {
	n := len(b.obs)
	maps.DeleteFunc(b.parents, func(parent *bucket, _ bool) bool { return len(parent.obs) == 0 })
	if b.reportedBytes > maxReportedEventsBytes {
		b.reported, b.reportedBytes = nil, 0 // some may be reported again
	}
	b.emissions = slices.DeleteFunc(b.emissions, func(e emission) bool {
		if e.Arrived >= beforeNanos {
			return false
		}
		b.emissionBytes -= e.bytes()
		freedBytes += e.bytes()
		return true
	})
	b.obs = slices.DeleteFunc(b.obs, func(o observation) bool {
		tie := o.arrived == beforeNanos && droppedTies < maxTies
		if tie {
			droppedTies++
		}
		if !tie && o.arrived >= beforeNanos {
			return false
		}
		freedBytes += o.bytes()
		return true
	})
	if len(b.obs) == n {
		return 0, 0, freedBytes
	}
	if cap(b.obs) > 64 && len(b.obs) < cap(b.obs)/4 {
		b.obs = slices.Clone(b.obs)
	}
	b.rebuildAggregate(len(b.obs) - 1)
	return n - len(b.obs), droppedTies, freedBytes
}

// rebuildAggregate makes the aggregate that of the window that ends with
// observation last.
func (b *bucket) rebuildAggregate(last int) {
	b.start = 0
	if b.aggregator == nil {
		return
	}
	b.aggregator.reset()
	if last < 0 {
		return
	}
	b.start = b.firstAtOrAfter(b.obs[last].at - int64(b.Timespan))
	for i := b.start; i <= last; i++ {
		b.aggregator.add(&b.obs[i])
	}
}

// evaluateSlidingWindows evaluates the sliding windows that contain the new
// observation.
func (b *bucket) evaluateSlidingWindows(c *Correlator, newIndex int) {
	if newIndex == len(b.obs)-1 { // the common case: it is the latest
		b.advanceWindow(newIndex)
		b.evaluateWindow(c, newIndex, arrivedInOrder)
		return
	}
	b.rebuildAggregate(newIndex)
	reported := 0
	for last := newIndex; last < len(b.obs) && b.obs[last].at <= b.obs[newIndex].at+int64(b.Timespan); last++ {
		if last > newIndex {
			b.advanceWindow(last)
		}
		reported = b.evaluateWindow(c, last, reported)
	}
	b.rebuildAggregate(len(b.obs) - 1)
}

// advanceWindow moves the window on, to end with observation last.
func (b *bucket) advanceWindow(last int) {
	b.aggregator.add(&b.obs[last])
	for b.obs[b.start].at < b.obs[last].at-int64(b.Timespan) {
		b.aggregator.remove(&b.obs[b.start])
		b.start++
	}
}

// arrivedInOrder stands for the number of reported observations when the last one
// arrived in order, so that all windows before it have been evaluated.
const arrivedInOrder = -1

// evaluateWindow emits a match if the window that ends with observation last
// satisfies the condition. The observations with an index below firstUnreported need
// not be looked at; it returns that index for the next window.
func (b *bucket) evaluateWindow(c *Correlator, last, firstUnreported int) (nextUnreported int) {
	window := b.obs[b.start : last+1]
	members, ok := b.aggregator.satisfied(window)
	if !ok {
		return firstUnreported
	}
	var unreported []int
	for i := last; i >= max(b.start, firstUnreported); i-- {
		if members != nil && !members[i-b.start] {
			continue
		}
		if !b.obs[i].reported {
			unreported = append(unreported, i)
		} else if firstUnreported == arrivedInOrder && members == nil {
			break // those before it were reported together with it
		}
	}
	slices.Reverse(unreported)
	b.emitMatch(c, unreported, last, b.obs[b.start].at)
	if members == nil {
		return last + 1
	}
	return 0
}

// emitMatch reports a match with the unreported observations, and propagates it to
// the correlations over this one. The window starts at fromNanos and ends with
// observation last.
func (b *bucket) emitMatch(c *Correlator, unreported []int, last int, fromNanos int64) {
	end := &b.obs[last]
	b.reportMatch(c, unreported, end.at)
	for _, i := range unreported {
		b.obs[i].reported = true
	}
	if len(b.outgoing) == 0 {
		return
	}
	e := emission{At: end.at, From: fromNanos, Arrived: end.arrived, Event: end.event, Kept: make(map[string]string), context: end.context}
	for i, name := range b.keptFields {
		if i < len(end.kept) && end.kept[i].ok {
			e.Kept[name] = end.kept[i].text
		}
	}
	for i, name := range b.GroupBy {
		e.Kept[name] = b.group[i]
	}
	if b.deferred {
		b.emissions = append(b.emissions, e)
		b.emissionBytes += e.bytes()
		c.bytes += e.bytes()
	}
	b.propagateToParents(c, e)
	for _, i := range unreported {
		b.updateParentMatches(c, b.obs[i].at)
	}
}

// reportMatch appends a match with the events of these observations that were not
// reported before, if there are any.
func (b *bucket) reportMatch(c *Correlator, observations []int, atNanos int64) {
	if len(observations) == 0 || b.suppressed {
		return
	}
	m := Match{Rule: b.Rule, Time: time.Unix(0, atNanos).UTC()}
	for i, name := range b.GroupBy {
		m.Group = append(m.Group, GroupValue{Field: name, Value: b.group[i]})
	}
	for _, i := range observations {
		m.Events = b.appendUnreported(m.Events, &b.obs[i])
	}
	if len(m.Events) > 0 {
		c.matches = append(c.matches, m)
	}
}

// extendInnerWindow moves the start of the inner window of an observation back to
// fromNanos.
func (b *bucket) extendInnerWindow(c *Correlator, index int, fromNanos int64) {
	inner := b.obs[index].inner
	if inner == nil || inner.from <= fromNanos {
		return
	}
	inner.from = fromNanos
	b.emitUpdate(c, index)
}

// updateParentMatches updates the parents' matches with the event at a time, which
// has come to contribute to a match of b.
func (b *bucket) updateParentMatches(c *Correlator, atNanos int64) {
	for parent := range b.parents {
		for i := range parent.obs {
			if w := parent.obs[i].inner; w != nil && w.bucket == b && w.from <= atNanos && atNanos <= w.to {
				parent.emitUpdate(c, i)
			}
		}
	}
}

// emitUpdate reports the events that a reported observation has gained.
func (b *bucket) emitUpdate(c *Correlator, index int) {
	if b.obs[index].reported {
		b.reportMatch(c, []int{index}, b.obs[index].at)
		b.updateParentMatches(c, b.obs[index].at)
	}
}

// An emission is a match of a correlation as its parents see it. Its JSON is
// stored.
type emission struct {
	At      int64             `json:"at"`
	From    int64             `json:"from"`
	Arrived int64             `json:"arrived"`
	Event   string            `json:"event"`
	Kept    map[string]string `json:"kept"`
	context any
}

// bytes is about what the emission takes in memory.
func (e *emission) bytes() int {
	n := 256 + len(e.Event)
	for name, v := range e.Kept {
		n += 64 + len(name) + len(v)
	}
	return n
}

// propagateToParents adds an emission to the correlations over this one.
func (b *bucket) propagateToParents(c *Correlator, e emission) {
	for _, parent := range b.outgoing {
		c.addObservation(parent, observation{
			at: e.At, arrived: e.Arrived, input: parent.input, event: e.Event, context: e.context,
			kept: selectFields(e.Kept, parent.to.keptFields), inner: &innerWindow{b, e.From, e.At},
		}, selectFields(e.Kept, parent.to.inputs[parent.input].fields))
	}
}

// appendUnreported appends the events behind an observation that were not
// reported before.
func (b *bucket) appendUnreported(events []Event, o *observation) []Event {
	if !b.hasInner {
		return o.appendEvents(events)
	}
	if b.reported == nil {
		b.reported = make(map[string]bool)
	}
	for _, e := range o.appendEvents(nil) {
		if !b.reported[e.ID] {
			b.reported[e.ID] = true
			b.reportedBytes += 64 + len(e.ID)
			events = append(events, e)
		}
	}
	return events
}

// appendEvents appends the event of an observation or, if its input is a
// correlation, the events that made that match.
func (o *observation) appendEvents(events []Event) []Event {
	if o.inner == nil {
		return append(events, Event{o.event, time.Unix(0, o.at).UTC(), o.context})
	}
	b := o.inner.bucket
	for i := b.firstAtOrAfter(o.inner.from); i < len(b.obs) && b.obs[i].at <= o.inner.to; i++ {
		if b.obs[i].reported {
			events = b.obs[i].appendEvents(events)
		}
	}
	return events
}
