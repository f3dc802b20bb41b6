package sigma

import (
	"cmp"
	"slices"
	"time"
)

// A Profile measures what the rules of one RuleSet cost on some events. The
// zero value is ready to use, by one goroutine at a time.
type Profile struct {
	// Events is how many events were matched. CandidateTime is the time that
	// finding their candidates took, which no single rule accounts for.
	Events        int64
	CandidateTime time.Duration

	set    *RuleSet
	rules  []measuredRuleCost   // by rule
	groups map[*RuleGroup]int64 // events of each
	clock  time.Duration        // what reading the clock takes
}

type measuredRuleCost struct {
	candidates, matches int64
	time                time.Duration
}

// A RuleProfile is what one rule cost.
type RuleProfile struct {
	Rule *Rule
	// Events is how many events the rule's logsource covers, Candidates how
	// many of them passed its prefilter, so that it was evaluated, and Matches
	// how many it matched.
	Events, Candidates, Matches int64
	// Time is what the evaluations took. A condition that rules share is
	// evaluated once per event, at the expense of the first that needs it.
	Time time.Duration
	// Prefilter describes the rule's prefilter, such as `Image endswith
	// \cmd.exe`: an event without such a value is not evaluated. It is "" if
	// the rule has none and is evaluated for every event.
	Prefilter string
}

// Profile does what Match does, and adds to p what each rule costs, which takes
// several times as long. A nil group has no rules. All groups must be of one
// RuleSet; a group of another resets p except for Events.
func (m *Matcher) Profile(g *RuleGroup, fields []Field, p *Profile) {
	if g == nil {
		p.Events++
		return
	}
	if p.set != g.set {
		*p = Profile{set: g.set, rules: make([]measuredRuleCost, len(g.set.rules)), groups: make(map[*RuleGroup]int64), clock: measureClockCost(), Events: p.Events}
	}
	start := time.Now()
	m.findCandidates(g, fields)
	p.CandidateTime += max(time.Since(start)-p.clock, 0)
	p.Events++
	p.groups[g]++
	for _, r := range m.candidates.Rules() {
		start := time.Now()
		matches := m.eval(&g.set.rules[r].program.expr)
		took := time.Since(start) - p.clock
		c := &p.rules[r]
		c.candidates++
		c.time += max(took, 0)
		if matches {
			c.matches++
		}
	}
	m.releaseEvent()
}

// measureClockCost measures the least that reading the clock twice takes.
func measureClockCost() time.Duration {
	least := time.Second
	for range 100 {
		start := time.Now()
		least = min(least, time.Since(start))
	}
	return least
}

// Rules returns the rules that there were events for, the most expensive first.
func (p *Profile) Rules() []RuleProfile {
	if p.set == nil {
		return nil
	}
	events := make([]int64, len(p.rules))
	for g, n := range p.groups {
		for _, r := range g.rules {
			events[r] += n
		}
	}
	d := newPrefilterDescriber(p.set.interned)
	var out []RuleProfile
	for i, c := range p.rules {
		if r := p.set.rules[i]; events[i] > 0 {
			out = append(out, RuleProfile{Rule: r, Events: events[i], Candidates: c.candidates, Matches: c.matches, Time: c.time, Prefilter: d.describe(&r.program.prefilter)})
		}
	}
	slices.SortStableFunc(out, func(a, b RuleProfile) int {
		return cmp.Or(cmp.Compare(b.Time, a.Time), cmp.Compare(b.Candidates, a.Candidates))
	})
	return out
}
