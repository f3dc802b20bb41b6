package correlation_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/correlation"
)

// ruleABC returns three rules for correlations to refer to.
func ruleABC() string {
	var b strings.Builder
	for _, name := range []string{"a", "b", "c"} {
		fmt.Fprintf(&b, "title: Rule %s\nid: id-%s\nname: %s\nlevel: low\nlogsource: {product: p}\ndetection: {s: {F: %s}, condition: s}\n---\n", name, name, name, name)
	}
	return b.String()
}

// correlate compiles correlations over the rules a, b and c.
func correlate(t testing.TB, text string) *sigma.RuleSet {
	t.Helper()
	parsed, err := sigma.Parse("c.yml", []byte(ruleABC()+text))
	if err != nil {
		t.Fatal(err)
	}
	rs, errs := sigma.Compile(parsed, sigma.Options{})
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	return rs
}

// An obs is an observation in short.
type obs struct {
	rule  string
	at    int // seconds
	event string
	user  string
	value string
}

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (s obs) observation(arrived int) correlation.Observation {
	fields := map[string]string{}
	if s.user != "" {
		fields["User"] = s.user
	}
	if s.value != "" {
		fields["Value"] = s.value
	}
	return correlation.Observation{
		Rule: "id-" + s.rule, Event: s.event, Time: epoch.Add(time.Duration(s.at) * time.Second),
		Arrived: epoch.Add(time.Duration(arrived) * time.Second), Fields: fields, Context: s.event,
	}
}

// eventsByGroup returns the events of the matches by correlation and group.
func eventsByGroup(matches []correlation.Match, into map[string]map[string]bool) map[string]map[string]bool {
	if into == nil {
		into = make(map[string]map[string]bool)
	}
	for _, f := range matches {
		key := f.Rule.Title
		for _, e := range f.Group {
			key += " " + e.Value
		}
		if into[key] == nil {
			into[key] = make(map[string]bool)
		}
		for _, e := range f.Events {
			if e.Context != any(e.ID) {
				panic("the context is another event's")
			}
			into[key][e.ID] = true
		}
	}
	return into
}

// oracleCases are the correlations that TestCorrelatorOracle checks, with their
// definitions.
var oracleCases = []struct {
	name, text string
	rules      string // that it refers to
	// holds evaluates a window of one group; members are the events that
	// contribute to the match.
	holds    func(window []obs) (members []int)
	tumbling bool // windows are tumbling, not sliding
}{
	{"event_count", "{type: event_count, rules: [a, b], condition: {gte: 4}", "ab", atLeast(4, count), false},
	{"event_count gt", "{type: event_count, rules: a, condition: {gt: 2}", "a", atLeast(3, count), false},
	{"event_count eq", "{type: event_count, rules: [a, b], condition: {eq: 3}", "ab", exactly(count, 3, 3), true},
	{"event_count range", "{type: event_count, rules: [a, b], condition: {gt: 1, lte: 3}", "ab", exactly(count, 2, 3), true},
	{"event_count lt", "{type: event_count, rules: [a, b], condition: {lt: 2}", "ab", exactly(count, 0, 1), true},
	{"event_count neq", "{type: event_count, rules: [a, b], condition: {neq: 2}", "ab",
		func(w []obs) []int { return all(w, len(w) != 2) }, true},
	{"value_count", "{type: value_count, rules: [a, b], condition: {gte: 3, field: Value}", "ab", atLeast(3, distinct), false},
	{"value_count lte", "{type: value_count, rules: [a, b], condition: {lte: 2, field: Value}", "ab", exactly(distinct, 0, 2), true},
	{"value_sum", "{type: value_sum, rules: [a, b], condition: {gte: 14, field: Value}", "ab", atLeast(14, sum), false},
	{"value_sum lt", "{type: value_sum, rules: [a, b], condition: {lt: 9, field: Value}", "ab", exactly(sum, math.Inf(-1), 8.9), true},
	{"value_avg", "{type: value_avg, rules: [a, b], condition: {gt: 4.5, field: Value}", "ab", exactly(avg, 4.500001, 1e9), true},
	{"value_median", "{type: value_median, rules: [a, b], condition: {gte: 5, field: Value}", "ab", exactly(percentile(50), 5, 1e9), true},
	{"value_percentile", "{type: value_percentile, rules: [a, b], condition: {gte: 6, field: Value, percentile: 90}", "ab", exactly(percentile(90), 6, 1e9), true},
	{"temporal", "{type: temporal, rules: [a, b, c]", "abc", kinds("abc"), false},
	{"temporal count", "{type: temporal, rules: [a, b, c], condition: {gte: 2}", "abc",
		func(w []obs) []int { return all(w, len(kindsOf(w)) >= 2) }, false},
	{"temporal few", "{type: temporal, rules: [a, b, c], condition: {lt: 2}", "abc",
		func(w []obs) []int { return all(w, len(kindsOf(w)) < 2) }, true},
	{"temporal or", "{type: temporal, rules: [a, b, c], condition: a and (b or c)", "abc",
		func(w []obs) []int { return append(kinds("ab")(w), kinds("ac")(w)...) }, false},
	{"temporal_ordered", "{type: temporal_ordered, rules: [a, b, c]", "abc", ordered("abc"), false},
	{"temporal_ordered twice", "{type: temporal_ordered, rules: [a, b, a]", "ab", ordered("aba"), false},
	{"temporal_ordered or", "{type: temporal_ordered, rules: [a, b, c], condition: (a or b) and c", "abc",
		func(w []obs) []int { return append(ordered("ac")(w), ordered("bc")(w)...) }, false},
}

func all(w []obs, ok bool) (members []int) {
	for i := range w {
		if ok {
			members = append(members, i)
		}
	}
	return members
}

func atLeast(n float64, figure func([]obs) float64) func([]obs) []int {
	return func(w []obs) []int { return all(w, figure(w) >= n) }
}

func exactly(figure func([]obs) float64, from, to float64) func([]obs) []int {
	return func(w []obs) []int { f := figure(w); return all(w, f >= from && f <= to) }
}

func count(w []obs) float64 { return float64(len(w)) }

func distinct(w []obs) float64 {
	m := make(map[string]bool)
	for _, s := range w {
		m[s.value] = true
	}
	return float64(len(m))
}

func number(s obs) float64 { return float64(s.value[0] - '0') }

func sum(w []obs) (f float64) {
	for _, s := range w {
		f += number(s)
	}
	return f
}

func avg(w []obs) float64 { return sum(w) / float64(len(w)) }

func percentile(p float64) func([]obs) float64 {
	return func(w []obs) float64 {
		var fs []float64
		for _, s := range w {
			fs = append(fs, number(s))
		}
		sort.Float64s(fs)
		at := p / 100 * float64(len(fs)-1)
		low, high := fs[int(math.Floor(at))], fs[int(math.Ceil(at))]
		return low + (high-low)*(at-math.Floor(at))
	}
}

func kindsOf(w []obs) map[string]bool {
	m := make(map[string]bool)
	for _, s := range w {
		m[s.rule] = true
	}
	return m
}

func kinds(rules string) func([]obs) []int {
	return func(w []obs) (members []int) {
		have := kindsOf(w)
		for _, r := range rules {
			if !have[string(r)] {
				return nil
			}
		}
		for i, s := range w {
			if strings.Contains(rules, s.rule) {
				members = append(members, i)
			}
		}
		return members
	}
}

// ordered tries all sequences.
func ordered(rules string) func([]obs) []int {
	return func(w []obs) []int {
		var members []int
		var try func(picked []int)
		try = func(picked []int) {
			if len(picked) == len(rules) {
				members = append(members, picked...)
				return
			}
			for i, s := range w {
				if s.rule != string(rules[len(picked)]) {
					continue
				}
				if n := len(picked); n > 0 && (w[picked[n-1]].at > s.at || w[picked[n-1]].event == s.event) {
					continue
				}
				try(append(slices.Clone(picked), i))
			}
		}
		try(nil)
		return members
	}
}

const oracleSpan = 10 // seconds

// expectedEvents returns what a correlation matches, by its definition.
func expectedEvents(c int, stream []obs) map[string]map[string]bool {
	out := make(map[string]map[string]bool)
	groups := make(map[string][]obs)
	known := make(map[obs]bool)
	for _, s := range stream {
		if strings.Contains(oracleCases[c].rules, s.rule) && s.user != "" && !known[s] {
			known[s] = true
			groups[s.user] = append(groups[s.user], s)
		}
	}
	for user, g := range groups {
		sort.SliceStable(g, func(i, j int) bool { return g[i].at < g[j].at })
		for i := 0; i < len(g); {
			end := i
			for end < len(g) && g[end].at <= g[i].at+oracleSpan {
				end++
			}
			for _, m := range oracleCases[c].holds(g[i:end]) {
				key := oracleCases[c].name + " " + user
				if out[key] == nil {
					out[key] = make(map[string]bool)
				}
				out[key][g[i+m].event] = true
			}
			if i++; oracleCases[c].tumbling {
				i = end
			}
		}
	}
	return out
}

// In any order, and however often events arrive, a correlation matches the
// events that its definition gives.
func TestCorrelatorOracle(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for c, oc := range oracleCases {
		t.Run(oc.name, func(t *testing.T) {
			rs := correlate(t, fmt.Sprintf("title: %s\nid: x\nlevel: high\ncorrelation: %s, group-by: [User], timespan: %ds}\n", oc.name, oc.text, oracleSpan))
			matched := 0
			for round := range 300 {
				var stream []obs
				for i := range rnd.IntN(24) {
					s := obs{string("abc"[rnd.IntN(3)]), rnd.IntN(60), fmt.Sprint("e", i), string("xy"[rnd.IntN(2)]), string("0123456789"[rnd.IntN(10)])}
					if stream = append(stream, s); rnd.IntN(8) == 0 {
						s.rule = string("abc"[rnd.IntN(3)]) // one event, two rules
						stream = append(stream, s)
					}
				}
				want := expectedEvents(c, stream)
				matched += len(want)
				if round%3 > 0 {
					rnd.Shuffle(len(stream), func(i, j int) { stream[i], stream[j] = stream[j], stream[i] })
				} else {
					sort.SliceStable(stream, func(i, j int) bool { return stream[i].at < stream[j].at })
				}
				if round%3 == 2 && len(stream) > 0 {
					stream = append(stream, stream[rnd.IntN(len(stream))])
				}
				corr := correlation.New(rs.Correlations(), correlation.Options{})
				var matches []correlation.Match
				for _, s := range stream {
					matches = corr.Observe(s.observation(100), matches)
				}
				got := eventsByGroup(corr.Flush(matches), nil)
				if d := cmp.Diff(want, got); d != "" {
					t.Fatalf("(-want +got):\n%s\nof %v", d, stream)
				}
			}
			if matched == 0 {
				t.Error("nothing matched in any round")
			}
		})
	}
}

// Each case is a correlation, the observations, and the events that match.
func TestCorrelatorStories(t *testing.T) {
	for name, s := range map[string]struct {
		correlation  string
		observations []obs
		want         string // groups and events; "" for none
	}{
		"a window includes its ends": {"{type: event_count, rules: a, group-by: User, timespan: 10s, condition: {gte: 2}}",
			[]obs{{"a", 0, "1", "u", ""}, {"a", 10, "2", "u", ""}}, "u: 1 2"},
		"outside the window": {"{type: event_count, rules: a, group-by: User, timespan: 10s, condition: {gte: 2}}",
			[]obs{{"a", 0, "1", "u", ""}, {"a", 11, "2", "u", ""}}, ""},
		"a missing group-by field is no group": {"{type: event_count, rules: a, group-by: User, timespan: 10s, condition: {gte: 2}}",
			[]obs{{"a", 0, "1", "", ""}, {"a", 1, "2", "", ""}}, ""},
		"without group-by all are one group": {"{type: event_count, rules: a, timespan: 10s, condition: {gte: 2}}",
			[]obs{{"a", 0, "1", "", ""}, {"a", 1, "2", "u", ""}}, ": 1 2"},
		"values of several fields are counted as one": {"{type: value_count, rules: a, timespan: 10s, condition: {gte: 3, field: [User, Value]}}",
			[]obs{{"a", 0, "1", "u", "1"}, {"a", 1, "2", "u", "2"}, {"a", 2, "3", "v", "1"}, {"a", 2, "4", "v", "1"}, {"a", 2, "5", "v", ""}}, ": 1 2 3 4"},
		"a string does not count as a number": {"{type: value_sum, rules: a, timespan: 10s, condition: {gte: 3, field: Value}}",
			[]obs{{"a", 0, "1", "", "2"}, {"a", 1, "2", "", "x"}, {"a", 2, "3", "", "1"}}, ": 1 3"},
		"one event may stand for two rules": {"{type: temporal, rules: [a, b], timespan: 10s}",
			[]obs{{"a", 0, "1", "", ""}, {"b", 0, "1", "", ""}}, ": 1"},
		"but not for two steps": {"{type: temporal_ordered, rules: [a, b], timespan: 10s}",
			[]obs{{"a", 0, "1", "", ""}, {"b", 0, "1", "", ""}}, ""},
		"steps at one time are in any order": {"{type: temporal_ordered, rules: [a, b], timespan: 10s}",
			[]obs{{"b", 0, "1", "", ""}, {"a", 0, "2", "", ""}}, ": 1 2"},
		"absence": {"{type: temporal, rules: [a, b], timespan: 10s, condition: a and not b}",
			[]obs{{"a", 0, "1", "", ""}, {"a", 30, "2", "", ""}, {"b", 40, "3", "", ""}, {"b", 60, "4", "", ""}, {"a", 70, "5", "", ""}, {"a", 90, "6", "", ""}}, ": 1 6"},
		"absence between steps": {"{type: temporal_ordered, rules: [a, c, b], timespan: 10s, condition: a and b and not c}",
			[]obs{{"a", 0, "1", "", ""}, {"b", 5, "2", "", ""}, {"c", 6, "3", "", ""}, {"a", 30, "4", "", ""}, {"c", 31, "5", "", ""}, {"b", 32, "6", "", ""}}, ": 1 2"},
		"absence after the last step": {"{type: temporal_ordered, rules: [a, b, c], timespan: 10s, condition: a and b and not c}",
			[]obs{{"a", 0, "1", "", ""}, {"b", 5, "2", "", ""}, {"c", 9, "3", "", ""}, {"a", 30, "4", "", ""}, {"b", 32, "5", "", ""}, {"c", 41, "6", "", ""}}, ": 4 5"},
		"aliases": {"{type: temporal, rules: [a, b], group-by: who, timespan: 10s, aliases: {who: {a: User, b: Value}}}",
			[]obs{{"a", 0, "1", "u", "x"}, {"b", 1, "2", "x", "u"}, {"b", 2, "3", "u", "x"}}, "u: 1 2"},
		"all of": {"{type: temporal, rules: [a, b, c], timespan: 10s, condition: 1 of them and c}",
			[]obs{{"a", 0, "1", "", ""}, {"c", 1, "2", "", ""}}, ": 1 2"},
	} {
		t.Run(name, func(t *testing.T) {
			rs := correlate(t, "title: T\nid: x\ncorrelation: "+s.correlation+"\n")
			c := correlation.New(rs.Correlations(), correlation.Options{})
			var matches []correlation.Match
			for _, o := range s.observations {
				matches = c.Observe(o.observation(0), matches)
			}
			if got := summarize(eventsByGroup(c.Flush(matches), nil)); got != s.want {
				t.Errorf("got %q, want %q", got, s.want)
			}
		})
	}
}

func summarize(m map[string]map[string]bool) string {
	var lines []string
	for key, events := range m {
		var names []string
		for e := range events {
			names = append(names, e)
		}
		slices.Sort(names)
		_, group, _ := strings.Cut(key, " ")
		lines = append(lines, group+": "+strings.Join(names, " "))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

const chained = `
title: Many
id: id-many
name: many
correlation: {type: event_count, rules: [a], group-by: [Value], timespan: 10s, condition: {gte: 3}}
---
title: Many, then one
id: id-then
correlation: {type: temporal_ordered, rules: [many, b], group-by: [User], timespan: 60s}
`

// A match of an inner correlation counts when it is complete, and contributes all
// of its events.
func TestCorrelatorChain(t *testing.T) {
	rs := correlate(t, chained)
	run := func(stream ...obs) string {
		c := correlation.New(rs.Correlations(), correlation.Options{})
		var matches []correlation.Match
		for _, o := range stream {
			matches = c.Observe(o.observation(0), matches)
		}
		return summarize(eventsByGroup(c.Flush(matches), nil))
	}
	many := []obs{{"a", 0, "1", "u", "v"}, {"a", 1, "2", "u", "v"}, {"a", 3, "3", "u", "v"}}
	if got := run(append(many, obs{"b", 30, "4", "u", ""})...); got != "then one u: 1 2 3 4" {
		t.Errorf("got %q", got)
	}
	if got := run(append(many, obs{"b", 2, "4", "u", ""})...); got != "" {
		t.Errorf("before the third: got %q", got)
	}
	if got := run(append(many, obs{"b", 30, "4", "w", ""})...); got != "" {
		t.Errorf("another user: got %q", got)
	}
}

// A deferred correlation waits for its window to end and for late events, and
// matches once. Another Correlator continues where the first was.
func TestCorrelatorAdvanceAndRestore(t *testing.T) {
	rs := correlate(t, "title: Few\nid: x\ncorrelation: {type: event_count, rules: a, group-by: User, timespan: 60s, condition: {lt: 3}}\n")
	c := correlation.New(rs.Correlations(), correlation.Options{Grace: 5 * time.Second})
	clock := func(s int) time.Time { return epoch.Add(time.Duration(s) * time.Second) }
	early := obs{"a", 0, "1", "u", ""}
	if got := c.Observe(early.observation(1), nil); got != nil {
		t.Fatalf("matches at once: %v", got)
	}
	for _, at := range []int{30, 60, 64} {
		if got := c.Advance(clock(at), nil); got != nil {
			t.Fatalf("matches after %d s: %v", at, got)
		}
	}
	late := obs{"a", 50, "2", "u", ""}
	c.Observe(late.observation(64), nil)
	if got := c.Advance(clock(66), nil); got != nil {
		t.Fatalf("does not wait for late events: %v", got)
	}
	if got := summarize(eventsByGroup(c.Advance(clock(69), nil), nil)); got != "u: 1 2" {
		t.Errorf("got %q", got)
	}
	next := correlation.New(rs.Correlations(), correlation.Options{Grace: 5 * time.Second})
	if err := next.Restore(c.State()); err != nil {
		t.Fatal(err)
	}
	for _, s := range []obs{early, late, {"a", 70, "3", "u", ""}} {
		next.Observe(s.observation(70), nil)
	}
	if got := summarize(eventsByGroup(next.Advance(clock(300), nil), nil)); got != "u: 3" {
		t.Errorf("after a restart: got %q", got)
	}
	if err := next.Restore([]byte("{")); err == nil {
		t.Error("bad state is accepted")
	}
}

// Memory is bounded: by time, and by number.
func TestCorrelatorForgets(t *testing.T) {
	rs := correlate(t, "title: Many\nid: x\ncorrelation: {type: value_count, rules: a, group-by: User, timespan: 10s, condition: {gte: 3, field: Value}}\n")
	c := correlation.New(rs.Correlations(), correlation.Options{AllowedLateness: time.Minute, MaxObservations: 100})
	for i := range 1000 {
		c.Observe(obs{"a", i, fmt.Sprint(i), fmt.Sprint("u", i%50), fmt.Sprint(i)}.observation(i), nil)
		if c.Len() > 100 {
			t.Fatalf("%d are kept", c.Len())
		}
	}
	if c.Evicted() == 0 || int(c.Evicted())+c.Len() != 1000 {
		t.Errorf("%d were evicted and %d are kept", c.Evicted(), c.Len())
	}
	c.Advance(epoch.Add(time.Hour), nil)
	if c.Len() != 0 {
		t.Errorf("%d are kept after an hour", c.Len())
	}
}

// Eviction depends on when observations arrived and, for those that arrived at
// the same time, on their content: never on the order of a map.
func TestCorrelatorEvictsTies(t *testing.T) {
	rs := correlate(t, "title: Two\nid: x\ncorrelation: {type: event_count, rules: a, group-by: User, timespan: 60s, condition: {gte: 2}}\n")
	const users = 64
	// Nine of 65 are evicted: that of user 0, which arrived before the others,
	// and those of users 1 to 8.
	const want = "u09: first-09 second-09\nu10: first-10 second-10\nu11: first-11 second-11\nu12: first-12 second-12"
	for range 10 {
		c := correlation.New(rs.Correlations(), correlation.Options{MaxObservations: users})
		var matches []correlation.Match
		for user := range users {
			arrived := 2
			if user == 0 {
				arrived = 1
			}
			matches = c.Observe(obs{"a", 0, fmt.Sprintf("first-%02d", user), fmt.Sprintf("u%02d", user), ""}.observation(arrived), matches)
		}
		matches = c.Observe(obs{"a", 0, "one too many", "v", ""}.observation(3), matches)
		if c.Evicted() != 9 {
			t.Fatalf("%d were evicted, want 9", c.Evicted())
		}
		for user := 5; user < 13; user++ {
			matches = c.Observe(obs{"a", 1, fmt.Sprintf("second-%02d", user), fmt.Sprintf("u%02d", user), ""}.observation(4), matches)
		}
		if got := summarize(eventsByGroup(matches, nil)); got != want {
			t.Fatalf("got\n%s\nwant\n%s", got, want)
		}
	}
}

// The oldest go first, whichever correlation they belong to.
func TestCorrelatorEvictsOldest(t *testing.T) {
	rs := correlate(t, "title: A\nid: x\ncorrelation: {type: event_count, rules: a, group-by: User, timespan: 60s, condition: {gte: 2}}\n---\n"+
		"title: B\nid: y\ncorrelation: {type: event_count, rules: b, group-by: User, timespan: 60s, condition: {gte: 2}}\n")
	c := correlation.New(rs.Correlations(), correlation.Options{MaxObservations: 16})
	c.Observe(obs{"b", 0, "old", "u", ""}.observation(1), nil)
	for i := range 16 {
		c.Observe(obs{"a", 0, fmt.Sprint("new ", i), fmt.Sprint("u", i), ""}.observation(2), nil)
	}
	if got := c.Observe(obs{"b", 1, "next", "u", ""}.observation(3), nil); got != nil {
		t.Errorf("the oldest was kept, and matches: %v", eventsByGroup(got, nil))
	}
}

func TestCorrelationErrors(t *testing.T) {
	for text, want := range map[string]string{
		"{rules: a, timespan: 1m}":                                                                         "the correlation has no type",
		"{type: count, rules: a, timespan: 1m}":                                                            `unknown type of correlation "count"`,
		"{type: event_count, rules: a, condition: {gte: 1}}":                                               "the correlation has no timespan",
		"{type: event_count, rules: a, timespan: 5x, condition: {gte: 1}}":                                 `"5x" is not a timespan`,
		"{type: event_count, rules: a, timespan: 0s, condition: {gte: 1}}":                                 `"0s" is not a timespan`,
		"{type: event_count, rules: a, timespan: 1m}":                                                      "needs a condition",
		"{type: event_count, rules: a, timespan: 1m, condition: a}":                                        "must be a mapping",
		"{type: event_count, rules: a, timespan: 1m, condition: {gte: x}}":                                 "gte needs a number",
		"{type: event_count, rules: a, timespan: 1m, condition: {min: 1}}":                                 `unknown comparison "min"`,
		"{type: event_count, rules: a, timespan: 1m, condition: {gte: 1, field: F}}":                       "has no field",
		"{type: value_count, rules: a, timespan: 1m, condition: {gte: 1}}":                                 "needs a field",
		"{type: value_avg, rules: a, timespan: 1m, condition: {gte: 1, field: [F, G]}}":                    "has one field",
		"{type: value_percentile, rules: a, timespan: 1m, condition: {lte: 1, field: F}}":                  "percentile goes with the type value_percentile",
		"{type: value_percentile, rules: a, timespan: 1m, condition: {lte: 1, field: F, percentile: 101}}": "from 0 to 100",
		"{type: event_count, timespan: 1m, condition: {gte: 1}}":                                           "has no rules",
		"{type: event_count, rules: [a, a], timespan: 1m, condition: {gte: 1}}":                            `has the rule "a" twice`,
		"{type: temporal, rules: [a, b], timespan: 1m, condition: a}":                                      `does not name the rule "b"`,
		"{type: temporal, rules: [a], timespan: 1m, condition: a and b}":                                   `names "b", which does not exist`,
		"{type: temporal, rules: [a, b], timespan: 1m, condition: a and}":                                  "the condition ends too early",
		"{type: temporal, rules: [a], timespan: 1m, aliases: {x: {b: F}}}":                                 `is for the rule "b"`,
		"{type: temporal, rules: [a, b], timespan: 1m, group-by: x, aliases: {x: {b: F}}}":                 `lacks a field for the rule "a"`,
		"{type: temporal, rules: [a, b], timespan: 1m, generate: maybe}":                                   "generate must be true or false",
		"{type: event_count, rules: nothing, timespan: 1m, condition: {gte: 1}}":                           `names the rule "nothing", which does not exist`,
		"{type: temporal, rules: [a, b], timespan: 1m, condition: a or not b}":                             "holds when nothing happens",
		"{type: temporal, rules: [a, b], timespan: 1m, condition: a and not a and b}":                      "can't hold",
		"{type: temporal_ordered, rules: [a, b], timespan: 1m, condition: {gte: 1}}":                       "needs all of its rules",
		"{type: event_count, rules: me, timespan: 1m, condition: {gte: 1}}":                                "leads back to it",
	} {
		parsed, err := sigma.Parse("c.yml", []byte(ruleABC()+"title: T\nid: x\nname: me\ncorrelation: "+text+"\n"))
		if err == nil {
			if _, errs := sigma.Compile(parsed, sigma.Options{}); len(errs) > 0 {
				err = errs[0]
			}
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "c.yml:") {
			t.Errorf("%s: error is %v, want one with %q", text, err, want)
		}
	}
}

// A rule that correlations refer to raises no alerts of its own, unless one of
// them sets generate, and knows which fields they need.
func TestCorrelatedRules(t *testing.T) {
	rs := correlate(t, chained+"---\ntitle: Loud\nid: loud\ncorrelation: {type: event_count, rules: [c], generate: true, timespan: 1m, condition: {gte: 2}}\n")
	var got []string
	for _, r := range rs.Rules() {
		got = append(got, fmt.Sprint(r.Name, " ", r.CorrelationOnly(), " ", r.CorrelationFields()))
	}
	for _, c := range rs.Correlations() {
		got = append(got, fmt.Sprint(c.Title, " ", c.Level))
	}
	want := []string{"a true [Value User]", "b true [User]", "c false []", "Many low", "Many, then one low", "Loud low"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func BenchmarkCorrelator(b *testing.B) {
	for _, text := range []string{
		"{type: event_count, rules: a, group-by: User, timespan: 10m, condition: {gte: 100000}}",
		"{type: value_count, rules: a, group-by: User, timespan: 10m, condition: {gte: 100000, field: Value}}",
		"{type: temporal, rules: [a, b], group-by: User, timespan: 10m}",
		"{type: temporal_ordered, rules: [a, b], group-by: User, timespan: 10m}",
	} {
		b.Run(strings.Split(text, ",")[0][7:], func(b *testing.B) {
			c := correlation.New(correlate(b, "title: T\nid: x\ncorrelation: "+text+"\n").Correlations(), correlation.Options{MaxObservations: 200_000})
			var users, values []string
			for i := range 2000 {
				users, values = append(users, fmt.Sprint("user", i)), append(values, fmt.Sprint("value", i))
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				at := epoch.Add(time.Duration(i) * 10 * time.Millisecond)
				c.Observe(correlation.Observation{Rule: "id-a", Event: values[i%2000], Time: at, Arrived: at,
					Fields: map[string]string{"User": users[i*7%200], "Value": values[i*13%2000]}}, nil)
			}
		})
	}
}

// Conditions with not, and correlations over correlations, give the same matches
// in any order of events.
func TestCorrelatorOrder(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for _, text := range []string{
		"title: T\nid: x\ncorrelation: {type: temporal, rules: [a, b, c], group-by: [User], timespan: 10s, condition: a and b and not c}\n",
		"title: T\nid: x\ncorrelation: {type: temporal_ordered, rules: [a, c, b], group-by: [User], timespan: 10s, condition: (a or c) and b and not c or a and not b}\n",
		chained,
		chained + "---\ntitle: Third\nid: id-third\ncorrelation: {type: event_count, rules: [id-then], group-by: [User], timespan: 60s, condition: {lt: 3}}\n",
	} {
		rs := correlate(t, text)
		matched := 0
		for range 300 {
			var stream []obs
			for i := range rnd.IntN(24) {
				stream = append(stream, obs{string("abc"[rnd.IntN(3)]), rnd.IntN(60), fmt.Sprint("e", i), string("xy"[rnd.IntN(2)]), string("01"[rnd.IntN(2)])})
			}
			run := func() map[string]map[string]bool {
				c := correlation.New(rs.Correlations(), correlation.Options{})
				var matches []correlation.Match
				for _, s := range stream {
					matches = c.Observe(s.observation(100), matches)
				}
				return eventsByGroup(c.Flush(matches), nil)
			}
			want := run()
			matched += len(want)
			for range 3 {
				rnd.Shuffle(len(stream), func(i, j int) { stream[i], stream[j] = stream[j], stream[i] })
				stream = append(stream, stream[:min(1, len(stream))]...)
				if d := cmp.Diff(want, run()); d != "" {
					t.Fatalf("%s\nin another order (-want +got):\n%s\nof %v", text, d, stream)
				}
			}
		}
		if matched == 0 {
			t.Errorf("nothing matched: %s", text)
		}
	}
}
