package correlation_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/sigma/correlation"
)

// In groups of so many observations that those out of order are evaluated together, a
// correlation matches the events that its definition gives.
func TestLateObservations(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 10))
	for c, oc := range oracleCases {
		t.Run(oc.name, func(t *testing.T) {
			rs := correlate(t, fmt.Sprintf("title: %s\nid: x\nlevel: high\ncorrelation: %s, group-by: [User], timespan: %ds}\n", oc.name, oc.text, oracleSpan))
			for round := range 10 {
				var stream []obs
				for i := range 300 {
					stream = append(stream, obs{string("abc"[rnd.IntN(3)]), rnd.IntN(500), fmt.Sprint("e", i), "x", string("0123456789"[rnd.IntN(10)])})
				}
				want := expectedEvents(c, stream)
				if round%2 == 0 {
					sort.SliceStable(stream, func(i, j int) bool { return stream[i].at > stream[j].at })
				}
				stream = append(stream, stream[200:250]...)
				corr := correlation.New(rs.Correlations(), correlation.Options{})
				var matches []correlation.Match
				for i, s := range stream {
					matches = corr.Observe(s.observation(1000), matches)
					if i%90 == 89 {
						matches = corr.EvaluateLate(matches)
					}
				}
				got := eventsByGroup(corr.Flush(matches), nil)
				if d := cmp.Diff(want, got); d != "" {
					t.Fatalf("(-want +got):\n%s\nof %v", d, stream)
				}
				sort.SliceStable(stream, func(i, j int) bool { return stream[i].at < stream[j].at })
				inOrder := correlation.New(rs.Correlations(), correlation.Options{})
				for _, s := range stream {
					inOrder.Observe(s.observation(1000), nil)
				}
				if inOrder.EvaluateLate(nil); corr.Len() != inOrder.Len() {
					t.Errorf("%d observations are kept, and %d if they arrive in order", corr.Len(), inOrder.Len())
				}
			}
		})
	}
}

// An observation costs a bounded number of steps, however many its group has and in
// whatever order they arrive.
func TestSteps(t *testing.T) {
	const chainedByHost = `
title: Many
id: id-many
name: many
correlation: {type: event_count, rules: [a], timespan: 10h, condition: {gte: 3}}
---
title: Many, then one
id: id-then
name: then
correlation: {type: temporal_ordered, rules: [many, b], group-by: [User], timespan: 10h}
---
title: Third
id: id-third
correlation: {type: event_count, rules: [id-then, b], group-by: [User], timespan: 10h, condition: {gte: 2}}
`
	// Where all observations of a window contribute to a match, and no correlation refers
	// to the other, the cost does not depend on the number in a group.
	const perObservation, linear = 15 * correlation.MaxPerGroup, 20
	single := func(correlated string) string {
		return "title: T\nid: x\ncorrelation: " + correlated + ", timespan: 10h}\n"
	}
	for name, tt := range map[string]struct {
		text  string
		limit int64
	}{
		"count":         {single("{type: event_count, rules: [a, b], condition: {gte: 10}"), linear},
		"unreached":     {single("{type: event_count, rules: [a, b], condition: {gte: 1000000}"), linear},
		"lower":         {single("{type: event_count, rules: [a, b], condition: {lt: 10}"), linear},
		"values":        {single("{type: value_count, rules: [a, b], condition: {gte: 10, field: Value}"), linear},
		"temporal":      {single("{type: temporal, rules: [a, b]"), linear},
		"alternatives":  {single("{type: temporal, rules: [a, b, c], condition: a and (b or c)"), perObservation},
		"absent":        {single("{type: temporal, rules: [a, b, c], condition: a and b and not c"), perObservation},
		"ordered":       {single("{type: temporal_ordered, rules: [a, b]"), perObservation},
		"never ordered": {single("{type: temporal_ordered, rules: [a, b, c]"), perObservation},
		"chained":       {chainedByHost, 2 * perObservation},
	} {
		for _, order := range []string{"ascending", "descending", "shuffled"} {
			for _, group := range []string{"one group", "many groups"} {
				t.Run(name+"/"+order+"/"+group, func(t *testing.T) {
					rs := correlate(t, tt.text)
					rnd := rand.New(rand.NewPCG(1, 2))
					steps := func(n int) int64 {
						var stream []obs
						for i := range n {
							user := "u"
							if group == "many groups" {
								user = fmt.Sprint("u", i)
							}
							stream = append(stream, obs{string("ab"[i%2]), i, fmt.Sprint("e", i), user, fmt.Sprint(i)})
						}
						switch order {
						case "descending":
							slices.Reverse(stream)
						case "shuffled":
							rnd.Shuffle(n, func(i, j int) { stream[i], stream[j] = stream[j], stream[i] })
						}
						c := correlation.New(rs.Correlations(), correlation.Options{})
						for i, s := range stream {
							c.Observe(s.observation(0), nil)
							if i%4096 == 4095 {
								c.EvaluateLate(nil)
								c.Advance(epoch.Add(-time.Hour), nil)
							}
						}
						c.Flush(nil)
						return c.Steps()
					}
					few, many := steps(3000), steps(6000)
					t.Logf("%d and %d steps for each of 3,000 and 6,000 observations", few/3000, many/6000)
					if many > 6_000*tt.limit {
						t.Errorf("%d steps for each observation", many/6000)
					}
				})
			}
		}
	}
}
