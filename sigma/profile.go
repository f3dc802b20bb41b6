package sigma

import (
	"cmp"
	"slices"
	"time"
)

// A Profile is what the rules of one RuleSet cost on some events. The zero
// value is ready to use, by one goroutine at a time.
type Profile struct {
	// Events are those that were matched, Seeking the time that finding their
	// candidates took, which is no single rule's.
	Events  int64
	Seeking time.Duration

	rs     *RuleSet
	rules  []ruleCost       // by rule
	groups map[*Group]int64 // events of each
	clock  time.Duration    // what it takes to read the clock
}

type ruleCost struct {
	candidates, matches int64
	time                time.Duration
}

// A RuleProfile is what one rule cost.
type RuleProfile struct {
	Rule *Rule
	// Events are those of the rule's logsource, Candidates those of them that
	// its witness let through, so that it was evaluated, and Matches those that
	// it fired on.
	Events, Candidates, Matches int64
	// Time is what the evaluations took. A condition that rules share is
	// answered once an event, on the account of the first that asks.
	Time time.Duration
	// Witness says what the rule is found by, such as `Image endswith
	// \cmd.exe`: a value of the event must look like that. It is "" of a rule
	// without, which is evaluated for every event.
	Witness string
}

// Profile does what Match does and adds to p what each rule costs, which takes
// several times as long. A nil group has no rules. All groups must be of one
// RuleSet; those of another start p anew.
func (m *Matcher) Profile(g *Group, fields []Field, p *Profile) {
	if g == nil {
		p.Events++
		return
	}
	if p.rs != g.rs {
		*p = Profile{rs: g.rs, rules: make([]ruleCost, len(g.rs.rules)), groups: make(map[*Group]int64), clock: clockCost(), Events: p.Events}
	}
	start := time.Now()
	m.seek(g, fields)
	p.Seeking += max(time.Since(start)-p.clock, 0)
	p.Events++
	p.groups[g]++
	for _, r := range m.rules {
		start := time.Now()
		fired := m.eval(&g.rs.rules[r].prog.expr)
		took := time.Since(start) - p.clock
		c := &p.rules[r]
		c.candidates++
		c.time += max(took, 0)
		if fired {
			c.matches++
		}
	}
	m.forget()
}

// clockCost is the least that reading the clock twice takes.
func clockCost() time.Duration {
	least := time.Second
	for range 100 {
		start := time.Now()
		least = min(least, time.Since(start))
	}
	return least
}

// Rules returns the rules that there were events for, the dearest first.
func (p *Profile) Rules() []RuleProfile {
	if p.rs == nil {
		return nil
	}
	events := make([]int64, len(p.rules))
	for g, n := range p.groups {
		for _, r := range g.rules {
			events[r] += n
		}
	}
	d := newDescriber(p.rs)
	var out []RuleProfile
	for i, c := range p.rules {
		if events[i] > 0 {
			out = append(out, RuleProfile{Rule: p.rs.rules[i], Events: events[i], Candidates: c.candidates, Matches: c.matches, Time: c.time, Witness: d.witness(&p.rs.witnesses[i])})
		}
	}
	slices.SortStableFunc(out, func(a, b RuleProfile) int {
		return cmp.Or(cmp.Compare(b.Time, a.Time), cmp.Compare(b.Candidates, a.Candidates))
	})
	return out
}
