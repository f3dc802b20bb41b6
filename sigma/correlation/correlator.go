package correlation

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/picket-edr/picket/sigma/ast"
)

// An Observation is an event that a rule matched, as correlations see it.
type Observation struct {
	Rule  string    // the rule's ID, or its Name if it has none
	Event string    // ID of the event; the same one at the same Time counts once
	Time  time.Time // of the event
	// Arrived is when the event became known, by the clock with which Advance is
	// called. It decides how long the event is kept.
	Arrived time.Time
	// Fields holds the fields that the rule's CorrelationFields names, as far as
	// the event has them.
	Fields map[string]string
	// Context is passed through to the Event of a Match.
	Context any
	// ContextBytes is how much memory Context takes, for Options.MaxBytes.
	ContextBytes int
}

// A Match is a match of a correlation.
type Match struct {
	Rule  *Rule
	Time  time.Time    // of the event that completed it
	Group []GroupValue // the values that the events have in common, in the order of GroupBy
	// Events are the events that make it match, in the order of their times,
	// without those that an earlier Match of the same rule and group has.
	Events []Event
}

// A GroupValue is a field of group-by and its value.
type GroupValue struct{ Field, Value string }

// An Event is an event that contributes to a match.
type Event struct {
	ID      string
	Time    time.Time
	Context any
}

// Options bound how long a Correlator waits and how much it keeps.
type Options struct {
	// Grace is the grace period: a window that has ended is evaluated this long
	// after its end and after its last event arrived. Default 10s.
	Grace time.Duration
	// AllowedLateness is how much later than others of its window an event may
	// arrive and still count. Default 1h.
	AllowedLateness time.Duration
	// MaxObservations is how many observations are kept, each counted once for
	// every correlation. Past it, the eighth that arrived first is evicted.
	// Default 1,000,000.
	MaxObservations int
	// MaxBytes is about how much memory the observations and their groups take, in
	// bytes. Past it, observations are evicted as for MaxObservations. Default 64 MiB.
	MaxBytes int
}

// A Correlator evaluates correlations over observations. It keeps the state of
// each by group, and belongs to one goroutine.
//
// What matches depends neither on the order in which events arrive, within
// Options.AllowedLateness, nor on how often they do. Monotonic conditions (gt and
// gte on counts and sums, temporal conditions without not) are evaluated by
// Observe, over sliding windows. All others are evaluated by Advance when a
// window has ended: temporal conditions with not for each event that may
// complete them, and aggregates over tumbling windows.
type Correlator struct {
	opt         Options
	states      []*ruleState
	edges       map[string][]inputEdge // by rule
	count       int                    // observations kept
	bytes       int                    // that they and their buckets take
	evicted     int64
	matches     []Match // of the call that is running
	steps       int64   // of work
	lastCleanup time.Time
}

// A ruleState is the state of one correlation.
type ruleState struct {
	*Rule
	buckets   map[string]*bucket // by group
	outgoing  []inputEdge        // to the correlations over this one
	retention time.Duration
	hasInner  bool // an input is a correlation
	// hasMembers says that not all observations of a window contribute to a match, so
	// that evaluating a window costs its length.
	hasMembers  bool
	lateBuckets []*bucket // those with late observations
	steps       *int64    // Correlator.steps
}

// countSteps counts steps of work, for tests.
func (s *ruleState) countSteps(steps int) { *s.steps += int64(steps) }

// maxPerGroup returns how many observations a group may have, 0 for any number.
func (s *ruleState) maxPerGroup() int {
	if !s.hasMembers && !s.hasInner && len(s.outgoing) == 0 {
		return 0 // evaluating a further one costs little
	}
	n := MaxPerGroup
	for _, c := range s.Comparisons {
		if s.Type == ast.EventCount || s.Type == ast.ValueCount {
			n = max(n, int(min(2*c.Value, MaxPerGroup*MaxPerGroup)))
		}
	}
	return n
}

// An inputEdge leads to an input of a correlation.
type inputEdge struct {
	to    *ruleState
	input int
}

// New returns a Correlator without observations. The rules must be in the order
// of [github.com/picket-edr/picket/sigma.RuleSet.Correlations].
func New(rules []*Rule, o Options) *Correlator {
	o.Grace = cmp.Or(o.Grace, 10*time.Second)
	o.AllowedLateness = cmp.Or(o.AllowedLateness, time.Hour)
	o.MaxObservations = cmp.Or(o.MaxObservations, 1_000_000)
	o.MaxBytes = cmp.Or(o.MaxBytes, 64<<20)
	c := &Correlator{opt: o, edges: make(map[string][]inputEdge)}
	byRule := make(map[*Rule]*ruleState)
	for _, rule := range rules {
		s := &ruleState{Rule: rule, buckets: make(map[string]*bucket), hasMembers: rule.hasMembers(), steps: &c.steps}
		byRule[rule] = s
		c.states = append(c.states, s)
		for i, in := range rule.inputs {
			e := inputEdge{s, i}
			if in.inner == nil {
				c.edges[in.ref] = append(c.edges[in.ref], e)
				continue
			}
			s.hasInner = true
			inner := byRule[in.inner]
			inner.outgoing = append(inner.outgoing, e)
		}
	}
	for _, s := range slices.Backward(c.states) {
		s.retention = 2 * s.Timespan
		for _, e := range s.outgoing {
			s.retention = max(s.retention, s.Timespan+e.to.retention)
		}
	}
	return c
}

// Observe takes an observation, and appends to dst the correlations that match. Where an
// observation arrives out of order and its group has many, EvaluateLate finds them.
func (c *Correlator) Observe(o Observation, dst []Match) []Match {
	c.matches = dst
	for _, e := range c.edges[o.Rule] {
		in := e.to.inputs[e.input]
		c.addObservation(e, observation{
			at: o.Time.UnixNano(), arrived: o.Arrived.UnixNano(), input: e.input,
			event: o.Event, context: o.Context, contextBytes: o.ContextBytes, kept: selectFields(o.Fields, e.to.keptFields),
		}, selectFields(o.Fields, in.fields))
	}
	for c.count > 0 && (c.count > c.opt.MaxObservations || c.bytes > c.opt.MaxBytes) {
		c.evictFirstArrived()
	}
	return c.takeMatches()
}

// A optionalString is the value of a field; ok is false if the field is missing.
type optionalString struct {
	text string
	ok   bool
}

func selectFields(fields map[string]string, names []string) []optionalString {
	if len(names) == 0 {
		return nil
	}
	out := make([]optionalString, len(names))
	for i, name := range names {
		text, ok := fields[name]
		out[i] = optionalString{ShortenValue(text), ok}
	}
	return out
}

func (c *Correlator) takeMatches() []Match {
	matches := c.matches
	c.matches = nil
	return matches
}

// addObservation adds an observation to the bucket that the values select: those of
// GroupBy, followed by those of ValueFields.
func (c *Correlator) addObservation(e inputEdge, o observation, values []optionalString) {
	by := len(e.to.GroupBy)
	for _, v := range values[:by] {
		if !v.ok {
			return // it belongs to no group
		}
	}
	if !e.to.setConditionValues(&o, values[by:]) {
		return
	}
	group := make([]string, by)
	for i, v := range values[:by] {
		group[i] = v.text
	}
	b := c.findOrCreateBucket(e.to, group)
	if o.inner != nil {
		o.inner.bucket.addParent(b)
	}
	c.addToBucket(b, o)
	if limit := b.maxPerGroup(); limit > 0 && len(b.obs)+len(b.late) > limit {
		c.evictFromLargestInput(b)
	}
}

// addToBucket adds an observation and evaluates its windows, now or, where that costs
// much, later.
func (c *Correlator) addToBucket(b *bucket, o observation) {
	at, found := b.find(&o)
	if found {
		if o.inner != nil {
			b.extendInnerWindow(c, at, o.inner.from)
		}
		return
	}
	c.count++
	c.bytes += o.bytes()
	if at < len(b.obs) && len(b.obs) > batchLateAboveObservations {
		if len(b.late) == 0 {
			b.lateBuckets = append(b.lateBuckets, b)
		}
		b.late = append(b.late, o)
		return
	}
	b.insert(o)
	if !b.deferred {
		b.evaluateSlidingWindows(c, at)
	}
}

// findOrCreateBucket returns the bucket of a group.
func (c *Correlator) findOrCreateBucket(s *ruleState, group []string) *bucket {
	var key strings.Builder
	for _, v := range group {
		key.WriteString(v)
		key.WriteByte(0)
	}
	b := s.buckets[key.String()]
	if b == nil {
		b = &bucket{ruleState: s, group: group, aggregator: s.newAggregator(), parents: make(map[*bucket]bool)}
		s.buckets[key.String()] = b
		c.bytes += b.emptyBytes()
	}
	return b
}

// EvaluateLate evaluates the windows of observations that Observe has not, because they
// arrived out of order and their group has many, and appends to dst the correlations
// that match. Advance and Flush do so too. Call it after each batch of observations.
func (c *Correlator) EvaluateLate(dst []Match) []Match {
	c.matches = dst
	c.evaluateLate()
	return c.takeMatches()
}

// Advance evaluates the windows that have ended by now, drops what no
// correlation needs any more, and appends to dst the correlations that match.
// Call it every few seconds.
func (c *Correlator) Advance(now time.Time, dst []Match) []Match {
	c.matches = dst
	c.evaluateLate()
	c.evaluateUntil(now.Add(-c.opt.Grace).UnixNano())
	if now.Sub(c.lastCleanup) > time.Minute {
		c.lastCleanup = now
		for _, s := range c.states {
			before := now.Add(-s.retention - c.opt.AllowedLateness).UnixNano()
			for key := range s.buckets {
				c.dropObservations(s, key, before, 0)
			}
		}
	}
	return c.takeMatches()
}

// Flush evaluates all windows as if no more events could arrive, and appends to
// dst the correlations that match.
func (c *Correlator) Flush(dst []Match) []Match {
	c.matches = dst
	c.evaluateLate()
	c.evaluateUntil(endOfTimeNanos)
	return c.takeMatches()
}

// evaluateUntil evaluates the deferred correlations, inner ones first, since
// these add to the outer ones.
func (c *Correlator) evaluateUntil(untilNanos int64) {
	for _, s := range c.states {
		if s.deferred {
			for _, b := range s.buckets {
				b.evaluateEndedWindows(c, untilNanos)
			}
			c.evaluateLate() // what they added to the correlations over them
		}
	}
}

// Retention returns how long after its arrival an observation may be needed.
func (c *Correlator) Retention() time.Duration {
	var d time.Duration
	for _, s := range c.states {
		d = max(d, s.retention)
	}
	return d + c.opt.AllowedLateness
}

// Evicted returns how many observations were evicted to stay within
// Options.MaxObservations and Options.MaxBytes.
func (c *Correlator) Evicted() int64 { return c.evicted }

// Len returns how many observations are kept.
func (c *Correlator) Len() int { return c.count }

// dropObservations removes the observations of a bucket that arrived before a time, and at
// most maxTies of those that arrived at it. It removes the bucket if that is then
// empty.
func (c *Correlator) dropObservations(s *ruleState, key string, beforeNanos int64, maxTies int) (droppedBefore, droppedTies int) {
	b := s.buckets[key]
	droppedBefore, droppedTies, freedBytes := b.dropObservations(beforeNanos, maxTies)
	if len(b.obs) == 0 {
		delete(s.buckets, key)
		freedBytes += b.emptyBytes() + b.propagatedBytes
	}
	c.count -= droppedBefore
	c.bytes -= freedBytes
	return droppedBefore, droppedTies
}

// evictFirstArrived removes the eighth of the observations that arrived first. Of those
// that arrived at the same time, the first in the order of correlations, groups
// and events go, so that the result does not depend on the order of a map.
func (c *Correlator) evictFirstArrived() {
	c.evaluateLate()
	arrived := make([]int64, 0, c.count)
	for _, s := range c.states {
		for _, b := range s.buckets {
			for i := range b.obs {
				arrived = append(arrived, b.obs[i].arrived)
			}
		}
	}
	slices.Sort(arrived)
	last := arrived[len(arrived)/8]
	earlier, _ := slices.BinarySearch(arrived, last)
	ties := len(arrived)/8 + 1 - earlier
	for _, s := range c.states {
		for _, key := range slices.Sorted(maps.Keys(s.buckets)) {
			dropped, tied := c.dropObservations(s, key, last, ties)
			c.evicted += int64(dropped)
			ties -= tied
		}
	}
}
