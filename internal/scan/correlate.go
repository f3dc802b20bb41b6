package scan

import (
	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/correlation"
)

// Bounds of the matches kept for correlations, each with the bytes of its event.
// Because files are read one after another, whatever the times of their events,
// nothing expires earlier.
const (
	maxObservations     = 100_000
	maxObservationBytes = 256 << 20
)

// A correlator evaluates correlations over matches.
type correlator struct {
	state   *correlation.Correlator
	matches []correlation.Match
}

func newCorrelator(rules *sigma.RuleSet) *correlator {
	return &correlator{state: correlation.New(rules.Correlations(), correlation.Options{MaxObservations: maxObservations, MaxBytes: maxObservationBytes})}
}

// process emits a match, unless its rule is for correlations only, and then the
// matches of correlations that it completes.
func (c *correlator) process(m LocatedMatch, emit func(LocatedMatch) error) error {
	if !m.CorrelationOnly {
		if err := emit(m); err != nil {
			return err
		}
	}
	if m.Observed == nil {
		return nil
	}
	c.matches = c.state.Observe(correlation.Observation{Rule: m.RuleID, Event: m.EventID, Time: m.Time, Fields: m.Observed,
		Context: m, ContextBytes: len(m.Raw)}, c.matches[:0])
	return c.emitMatchPerEvent(emit)
}

// flush emits the matches of correlations that need the end of all events.
func (c *correlator) flush(emit func(LocatedMatch) error) error {
	c.matches = c.state.Flush(c.matches[:0])
	return c.emitMatchPerEvent(emit)
}

// emitMatchPerEvent emits a match for each event of the matches of correlations.
func (c *correlator) emitMatchPerEvent(emit func(LocatedMatch) error) error {
	for _, cm := range c.matches {
		for _, e := range cm.Events {
			m, r := e.Context.(LocatedMatch), cm.Rule
			m.Match = picket.Match{
				ID: picket.MatchID(r.ID, m.EventID), RuleID: r.ID, EventID: m.EventID, AgentID: m.AgentID,
				Time: m.Time, Why: sigma.GroupEvidence(cm.Group), Title: r.Title, Level: r.Level, Tags: r.Tags, Host: m.Host,
			}
			if err := emit(m); err != nil {
				return err
			}
		}
	}
	return nil
}
