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
	late  []observation // out of order, to be merged into obs; see batchLateAboveObservations

	// aggregator is that of the window obs[start:], which ends with the last
	// observation. It is nil if the correlation is deferred.
	aggregator aggregator
	start      int

	// watermark is the time up to which windows have been evaluated.
	watermark    int64
	hasWatermark bool

	propagated       []propagatedMatch // if the correlation is deferred and has parents
	propagatedBytes  int
	restored         []timeRange     // of the windows that matched before a restart, ascending and disjoint
	reportedIDs      map[string]bool // of events already reported, if an input is a correlation
	reportedIDsBytes int
	parents          map[*bucket]bool // buckets of other correlations to which this one added
}

// emptyBytes is about what an empty bucket takes in memory. The map of buckets has its
// group too.
func (b *bucket) emptyBytes() int {
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
	value        string            // that ValueCount counts
	number       float64           // that other types aggregate
	kept         []optionalString  // of keptFields
	inner        *innerMatchWindow // if the input is a correlation
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

// An innerMatchWindow is the window in which an inner correlation matched.
type innerMatchWindow struct {
	bucket   *bucket
	from, to int64
}

// setConditionValues sets in o the values that the condition counts or aggregates. It
// reports whether the event has them: one that has not does not count.
func (s *ruleState) setConditionValues(o *observation, values []optionalString) (present bool) {
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
	index, found := b.find(&o)
	if found {
		return index, false
	}
	o.reported = o.reported || b.matchedBeforeRestart(o.at)
	b.obs = slices.Insert(b.obs, index, o)
	return index, true
}

// find returns the index of the observation that equals o, or else where it belongs.
func (b *bucket) find(o *observation) (index int, found bool) {
	if n := len(b.obs); n > 0 && b.obs[n-1].compare(o) < 0 { // the common case
		return n, false
	}
	index = sort.Search(len(b.obs), func(i int) bool { return b.obs[i].compare(o) >= 0 })
	return index, index < len(b.obs) && b.obs[index].compare(o) == 0
}

// A timeRange is from one time to another, both included.
type timeRange struct{ from, to int64 }

// setRestored notes in which windows a bucket has matched before a restart.
func (b *bucket) setRestored(matches []propagatedMatch) {
	ranges := make([]timeRange, len(matches))
	for i := range matches {
		ranges[i] = timeRange{matches[i].From, matches[i].At}
	}
	slices.SortFunc(ranges, func(x, y timeRange) int { return cmp.Compare(x.from, y.from) })
	b.restored = nil
	for _, r := range ranges {
		if n := len(b.restored); n > 0 && r.from <= b.restored[n-1].to {
			b.restored[n-1].to = max(b.restored[n-1].to, r.to)
			continue
		}
		b.restored = append(b.restored, r)
	}
}

func (b *bucket) matchedBeforeRestart(nanos int64) bool {
	i := sort.Search(len(b.restored), func(i int) bool { return b.restored[i].to >= nanos })
	return i < len(b.restored) && b.restored[i].from <= nanos
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

// maxReportedIDsBytes bounds the set of the IDs of reported events of a bucket.
const maxReportedIDsBytes = 8 << 20

// dropObservations removes the observations that arrived before a time, and at most maxTies of
// those that arrived at it. It returns how many of both, and how many bytes that frees.
func (b *bucket) dropObservations(beforeNanos int64, maxTies int) (droppedBefore, droppedTies, freedBytes int) {
	n := len(b.obs)
	maps.DeleteFunc(b.parents, func(parent *bucket, _ bool) bool { return len(parent.obs) == 0 })
	if b.reportedIDsBytes > maxReportedIDsBytes {
		b.reportedIDs, b.reportedIDsBytes = nil, 0 // some may be reported again
	}
	b.propagated = slices.DeleteFunc(b.propagated, func(e propagatedMatch) bool {
		if e.Arrived >= beforeNanos {
			return false
		}
		b.propagatedBytes -= e.bytes()
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
	b.countSteps(last - b.start + 1)
	for i := b.start; i <= last; i++ {
		b.aggregator.add(&b.obs[i])
	}
}

// evaluateSlidingWindows evaluates the sliding windows that contain the new
// observation.
func (b *bucket) evaluateSlidingWindows(c *Correlator, newIndex int) {
	if newIndex == len(b.obs)-1 { // the common case: it is the latest
		b.advanceWindow(newIndex)
		b.evaluateWindow(c, newIndex, lookBackToReported)
		return
	}
	b.evaluateWindowsOf(c, newIndex, b.obs[newIndex].at)
}

// evaluateWindowsOf evaluates the sliding windows that contain an observation from
// that with index first to those at lastNanos.
func (b *bucket) evaluateWindowsOf(c *Correlator, first int, lastNanos int64) {
	b.rebuildAggregate(first)
	reported := 0
	for last := first; last < len(b.obs) && b.obs[last].at <= lastNanos+int64(b.Timespan); last++ {
		if last > first {
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

// lookBackToReported stands for the first unreported observation when the last one
// arrived in order: all windows before it have been evaluated, so that looking back can
// end at a reported one.
const lookBackToReported = -1

// evaluateWindow emits a match if the window that ends with observation last
// satisfies the condition. The observations with an index below firstUnreported need
// not be looked at; it returns that index for the next window.
func (b *bucket) evaluateWindow(c *Correlator, last, firstUnreported int) (nextUnreported int) {
	window := b.obs[b.start : last+1]
	b.countSteps(1)
	if b.hasMembers {
		b.countSteps(len(window))
	}
	members, ok := b.aggregator.satisfied(window)
	if !ok {
		return firstUnreported
	}
	var unreported []int
	for i := last; i >= max(b.start, firstUnreported); i-- {
		b.countSteps(1)
		if members != nil && !members[i-b.start] {
			continue
		}
		if !b.obs[i].reported {
			unreported = append(unreported, i)
		} else if firstUnreported == lookBackToReported && members == nil {
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
	e := propagatedMatch{At: end.at, From: fromNanos, Arrived: end.arrived, Event: end.event, Kept: make(map[string]string), context: end.context}
	for i, name := range b.keptFields {
		if i < len(end.kept) && end.kept[i].ok {
			e.Kept[name] = end.kept[i].text
		}
	}
	for i, name := range b.GroupBy {
		e.Kept[name] = b.group[i]
	}
	if b.deferred {
		b.propagated = append(b.propagated, e)
		b.propagatedBytes += e.bytes()
		c.bytes += e.bytes()
	}
	b.propagateToParents(c, e)
	if len(b.parents) == 0 {
		return
	}
	for _, i := range unreported {
		b.updateParentMatches(c, []int64{b.obs[i].at}, b.obs[i].appendEvents(nil))
	}
}

// reportMatch appends a match with the events of these observations that were not
// reported before, if there are any.
func (b *bucket) reportMatch(c *Correlator, observations []int, atNanos int64) {
	if len(observations) == 0 || b.suppressed {
		return
	}
	var events []Event
	for _, i := range observations {
		if !b.hasInner {
			events = b.obs[i].appendEvents(events)
			continue
		}
		events = b.appendUnreported(events, b.obs[i].appendEvents(nil))
	}
	if len(events) > 0 {
		c.matches = append(c.matches, b.newMatch(events, atNanos))
	}
}

// extendInnerWindow moves the start of the inner window of an observation back to
// fromNanos. A reported observation gains the events between.
func (b *bucket) extendInnerWindow(c *Correlator, index int, fromNanos int64) {
	o := &b.obs[index]
	if o.inner == nil || o.inner.from <= fromNanos {
		return
	}
	end := o.inner.from - 1
	o.inner.from = fromNanos
	if o.reported {
		gained := o.inner.bucket.appendEventsBetween(nil, fromNanos, min(end, o.inner.to))
		b.reportEvents(c, gained, o.at)
		b.updateParentMatches(c, []int64{o.at}, gained)
	}
}

// updateParentMatches updates the parents' matches with the events that observations
// of b at these times, which are ascending, have gained.
func (b *bucket) updateParentMatches(c *Correlator, times []int64, gained []Event) {
	if len(gained) == 0 {
		return
	}
	for parent := range b.parents {
		var reached []int64
		b.countSteps(1)
		for i := parent.firstAtOrAfter(times[0]); i < len(parent.obs); i++ {
			b.countSteps(1)
			o := &parent.obs[i]
			if o.inner == nil || o.inner.bucket != b || !o.reported {
				continue
			}
			if k, _ := slices.BinarySearch(times, o.inner.from); k < len(times) && times[k] <= o.inner.to {
				reached = append(reached, o.at)
			}
		}
		if len(reached) > 0 {
			parent.reportEvents(c, gained, reached[0])
			parent.updateParentMatches(c, reached, gained)
		}
	}
}

// reportEvents appends a match with those of the events that were not reported before.
func (b *bucket) reportEvents(c *Correlator, events []Event, atNanos int64) {
	if b.suppressed {
		return
	}
	if events = b.appendUnreported(nil, events); len(events) > 0 {
		c.matches = append(c.matches, b.newMatch(events, atNanos))
	}
}

func (b *bucket) newMatch(events []Event, atNanos int64) Match {
	m := Match{Rule: b.Rule, Time: time.Unix(0, atNanos).UTC(), Events: events}
	for i, name := range b.GroupBy {
		m.Group = append(m.Group, GroupValue{Field: name, Value: b.group[i]})
	}
	return m
}

// A propagatedMatch is a match of a correlation as its parents see it. Its JSON is
// stored.
type propagatedMatch struct {
	At      int64             `json:"at"`
	From    int64             `json:"from"`
	Arrived int64             `json:"arrived"`
	Event   string            `json:"event"`
	Kept    map[string]string `json:"kept"`
	context any
}

// bytes is about what the match takes in memory.
func (e *propagatedMatch) bytes() int {
	n := 256 + len(e.Event)
	for name, v := range e.Kept {
		n += 64 + len(name) + len(v)
	}
	return n
}

// propagateToParents adds a match to the correlations over this one.
func (b *bucket) propagateToParents(c *Correlator, e propagatedMatch) {
	for _, parent := range b.outgoing {
		c.addObservation(parent, observation{
			at: e.At, arrived: e.Arrived, input: parent.input, event: e.Event, context: e.context,
			kept: selectFields(e.Kept, parent.to.keptFields), inner: &innerMatchWindow{b, e.From, e.At},
		}, selectFields(e.Kept, parent.to.inputs[parent.input].fields))
	}
}

// appendUnreported appends those of the events that were not reported before.
func (b *bucket) appendUnreported(dst, events []Event) []Event {
	if b.reportedIDs == nil {
		b.reportedIDs = make(map[string]bool)
	}
	for _, e := range events {
		if !b.reportedIDs[e.ID] {
			b.reportedIDs[e.ID] = true
			b.reportedIDsBytes += 64 + len(e.ID)
			dst = append(dst, e)
		}
	}
	return dst
}

// appendEvents appends the event of an observation or, if its input is a
// correlation, the events that made that match.
func (o *observation) appendEvents(events []Event) []Event {
	if o.inner == nil {
		return append(events, Event{o.event, time.Unix(0, o.at).UTC(), o.context})
	}
	return o.inner.bucket.appendEventsBetween(events, o.inner.from, o.inner.to)
}

// appendEventsBetween appends the events of the reported observations from one time to
// another. Inner windows that overlap are looked at once.
func (b *bucket) appendEventsBetween(events []Event, fromNanos, toNanos int64) []Event {
	var inner []innerMatchWindow // disjoint, and ascending for each bucket
	for i := b.firstAtOrAfter(fromNanos); i < len(b.obs) && b.obs[i].at <= toNanos; i++ {
		b.countSteps(1)
		o := &b.obs[i]
		switch {
		case !o.reported:
		case o.inner == nil:
			events = o.appendEvents(events)
		default:
			w := *o.inner
			for n := len(inner); n > 0 && inner[n-1].bucket == w.bucket && inner[n-1].to >= w.from; n-- {
				w.from, w.to = min(w.from, inner[n-1].from), max(w.to, inner[n-1].to)
				inner = inner[:n-1]
			}
			inner = append(inner, w)
		}
	}
	for _, w := range inner {
		events = w.bucket.appendEventsBetween(events, w.from, w.to)
	}
	return events
}
