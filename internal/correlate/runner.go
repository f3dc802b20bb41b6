// Package correlate evaluates correlations over the observations that workers store.
//
// Promise: exactly one process at a time evaluates them, elected by a lease in the
// store, so that a correlation sees the events of all hosts and workers in the order
// in which they were stored. Its state and position are committed together with its
// matches: after kill -9 another process continues without losing or repeating any.
package correlate

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
	"unique"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/correlation"
)

// A Runner evaluates the correlations of an engine's rules while it holds the lease.
type Runner struct {
	engine *detect.Engine
	store  store.Correlations
	holder string
	log    *slog.Logger
	now    func() time.Time

	rules      *sigma.RuleSet // of state
	state      *correlation.Correlator
	offset     int64
	alertHosts map[correlationGroupKey]alertHost
	leaseUntil time.Time // when to renew the lease
	stateSaved time.Time // when the state was last committed
	failing    bool      // the last step failed, which was logged

	kept, dropped atomic.Int64
}

// An alertHost is the host whose alert the matches of a correlation and group join,
// while they follow one another.
type alertHost struct {
	origin    unique.Handle[eventOrigin]
	lastMatch time.Time
}

// A correlationGroupKey is the hash of a correlation's ID and a group.
type correlationGroupKey [16]byte

func newCorrelationGroupKey(m *correlation.Match) (key correlationGroupKey) {
	h := sha256.New()
	fmt.Fprintf(h, "%q", m.Rule.ID)
	for _, g := range m.Group {
		fmt.Fprintf(h, "%q%q", g.Field, g.Value)
	}
	copy(key[:], h.Sum(nil))
	return key
}

// An eventOrigin is the agent, host and namespace of an event. Many observations have
// the same.
type eventOrigin struct{ agent, host, namespace string }

const (
	pollInterval        = 250 * time.Millisecond // between reads of new observations
	leaseDuration       = 10 * time.Second
	checkpointInterval  = 30 * time.Second
	observationPageSize = 4096
)

// New returns a runner of the engine's correlations. holder identifies it among all
// processes that share the store.
func New(e *detect.Engine, s store.Correlations, leaseHolder string, log *slog.Logger, now func() time.Time) *Runner {
	return &Runner{engine: e, store: s, holder: leaseHolder, log: log, now: now, alertHosts: make(map[correlationGroupKey]alertHost)}
}

// KeptObservations and DroppedObservations return how many observations the state
// holds, and how many were dropped because it was full.
func (r *Runner) KeptObservations() int64    { return r.kept.Load() }
func (r *Runner) DroppedObservations() int64 { return r.dropped.Load() }

// Run runs steps until ctx ends.
func (r *Runner) Run(ctx context.Context) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := r.Step(ctx)
		switch {
		case err == nil:
			r.failing = false
		case ctx.Err() == nil && !r.failing:
			r.failing = true
			r.log.Error("correlation step failed; retrying", "error", err)
		}
	}
}

// Step evaluates the observations that were stored since the last step, if this
// process holds the lease or gets it.
func (r *Runner) Step(ctx context.Context) error {
	rules := r.engine.Rules()
	if len(rules.Correlations()) == 0 {
		r.dropState()
		return nil
	}
	now := r.now()
	if !now.Before(r.leaseUntil) {
		ok, err := r.store.AcquireCorrelationLease(ctx, r.holder, leaseDuration)
		if err != nil || !ok {
			r.dropState()
			return err
		}
		r.leaseUntil = now.Add(leaseDuration / 3)
	}
	err := r.processNewObservations(ctx, rules, now)
	if err != nil {
		r.dropState() // uncommitted results will be computed again
	}
	if errors.Is(err, picket.ErrConflict) {
		return nil // another process has the lease
	}
	return err
}

func (r *Runner) dropState() {
	r.state, r.rules, r.leaseUntil = nil, nil, time.Time{}
	r.kept.Store(0)
}

func (r *Runner) processNewObservations(ctx context.Context, rules *sigma.RuleSet, now time.Time) error {
	if r.state == nil || r.rules != rules {
		if err := r.rebuildState(ctx, rules); err != nil {
			return err
		}
	}
	for {
		page, offset, err := r.store.Observations(ctx, r.offset, observationPageSize)
		if err != nil {
			return err
		}
		var found []correlation.Match
		for i := range page {
			found = r.state.Observe(toObservation(&page[i]), found)
		}
		found = r.state.EvaluateLate(found)
		observed := len(found)
		if len(page) == 0 {
			found = r.state.Advance(now, found)
		}
		c := store.CorrelationCommit{Offset: offset, Matches: r.matchPerEvent(found)}
		if len(found) > observed || now.Sub(r.stateSaved) > checkpointInterval {
			c.State = r.state.State()
			c.DeleteBefore = now.Add(-r.state.Retention())
			r.stateSaved = now
		}
		if offset != r.offset || len(c.Matches) > 0 || c.State != nil {
			if err := r.commit(ctx, c); err != nil {
				return err
			}
		}
		r.kept.Store(int64(r.state.Len()))
		if len(page) == 0 {
			return nil
		}
	}
}

func (r *Runner) commit(ctx context.Context, c store.CorrelationCommit) error {
	saved, err := r.store.CommitCorrelations(ctx, r.holder, c)
	if err != nil {
		return err
	}
	r.offset = c.Offset
	r.dropped.Store(r.state.Evicted())
	for _, a := range saved.Opened {
		r.log.Info("alert opened", "alert", a.ID, "rule", a.RuleID, "title", a.Title, "level", a.Level.String(), "host", a.Host)
	}
	return nil
}

// rebuildState restores the state from the last checkpoint and the stored observations
// before it.
func (r *Runner) rebuildState(ctx context.Context, rules *sigma.RuleSet) error {
	offset, state, err := r.store.CorrelationCheckpoint(ctx)
	if err != nil {
		return err
	}
	r.state, r.rules, r.stateSaved, r.offset = correlation.New(rules.Correlations(), correlation.Options{}), rules, r.now(), 0
	if state != nil {
		if err := r.state.Restore(state); err != nil {
			r.log.Warn("correlation state not readable; open windows may be evaluated twice", "error", err)
		}
	}
	for r.offset < offset {
		page, next, err := r.store.Observations(ctx, r.offset, observationPageSize)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		var found []correlation.Match
		for i := range page {
			found = r.state.Observe(toObservation(&page[i]), found)
		}
		found = r.state.EvaluateLate(found)
		// Most of these matches are stored. If a rule has changed since, some are not.
		if matches := r.matchPerEvent(found); len(matches) > 0 {
			if err := r.commit(ctx, store.CorrelationCommit{Offset: offset, Matches: matches, Replay: true}); err != nil {
				return err
			}
		}
		r.offset = next
	}
	r.offset = offset
	return nil
}

func toObservation(o *store.Observation) correlation.Observation {
	return correlation.Observation{Rule: o.RuleID, Event: picket.EventKey(o.EventID, o.EventNamespace), Time: o.Time, Arrived: o.Arrived, Fields: o.Fields,
		Context: unique.Make(eventOrigin{o.AgentID, o.Host, o.EventNamespace}), ContextBytes: len(o.AgentID) + len(o.Host) + len(o.EventNamespace)}
}

// matchPerEvent returns a match for each event of the correlation matches. Correlation
// matches that follow one another join one alert, on the host of the event that
// completed the first.
func (r *Runner) matchPerEvent(correlationMatches []correlation.Match) []picket.Match {
	var out []picket.Match
	for _, match := range correlationMatches {
		c := match.Rule
		key := newCorrelationGroupKey(&match)
		h, ok := r.alertHosts[key]
		if !ok || match.Time.Sub(h.lastMatch).Abs() > c.Timespan {
			h.origin = match.Events[len(match.Events)-1].Context.(unique.Handle[eventOrigin])
		}
		h.lastMatch = match.Time
		if len(r.alertHosts) > maxAlertHosts {
			clear(r.alertHosts)
		}
		r.alertHosts[key] = h
		alertOrigin, why := h.origin.Value(), sigma.GroupEvidence(match.Group)
		for _, e := range match.Events {
			origin := e.Context.(unique.Handle[eventOrigin]).Value()
			out = append(out, picket.Match{
				ID: picket.MatchID(c.ID, e.ID), RuleID: c.ID, EventID: picket.EventIDFromKey(e.ID, origin.namespace), EventNamespace: origin.namespace, AgentID: origin.agent,
				AlertAgent: alertOrigin.agent, Host: alertOrigin.host, Time: e.Time, Title: c.Title, Level: c.Level, Tags: c.Tags, Why: why,
			})
		}
	}
	return out
}

// maxAlertHosts bounds the remembered alert hosts.
const maxAlertHosts = 100_000
