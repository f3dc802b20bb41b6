package scan

import (
	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/correlation"
)

// maxObservations bounds the events that are kept for correlations, whose
// bytes are kept with them. Files come one after the other, whatever the times
// of their events, so nothing is let go before that.
const maxObservations = 100_000

// A correlator tells correlations of the hits of their rules.
type correlator struct {
	state *correlation.Correlator
	fired []correlation.Match
}

func newCorrelator(rules *sigma.RuleSet) *correlator {
	return &correlator{state: correlation.New(rules.Correlations(), correlation.Options{MaxObservations: maxObservations})}
}

// hit passes a hit on, unless it is there for correlations only, and then
// those that it completes.
func (c *correlator) hit(h Hit, pass func(Hit) error) error {
	if !h.CorrelationOnly {
		if err := pass(h); err != nil {
			return err
		}
	}
	if h.Observed == nil {
		return nil
	}
	c.fired = c.state.Observe(correlation.Observation{Rule: h.RuleID, Event: h.EventID, Time: h.Time, Fields: h.Observed, Context: h}, c.fired[:0])
	return c.pass(pass)
}

// flush passes on what was complete only at the end.
func (c *correlator) flush(pass func(Hit) error) error {
	c.fired = c.state.Flush(c.fired[:0])
	return c.pass(pass)
}

// pass makes a hit of each event that made a correlation fire.
func (c *correlator) pass(pass func(Hit) error) error {
	for _, f := range c.fired {
		for _, e := range f.Events {
			h, r := e.Context.(Hit), f.Rule
			h.Match = picket.Match{
				ID: picket.MatchID(r.ID, h.EventID), RuleID: r.ID, EventID: h.EventID, AgentID: h.AgentID,
				Time: h.Time, Why: sigma.GroupEvidence(f.Group), Title: r.Title, Level: r.Level, Tags: r.Tags, Host: h.Host,
			}
			if err := pass(h); err != nil {
				return err
			}
		}
	}
	return nil
}
