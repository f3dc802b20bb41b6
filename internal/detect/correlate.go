package detect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/correlation"
)

// hostFields are names that correlations group by for want of one that all
// shapes have: where an event lacks the field, its host stands for it.
var hostFields = []string{"Computer", "ComputerName", "Hostname", "HostName", "hostname", "host.name", "host"}

// observed returns the values of an event that correlations want; nil if none
// wants any.
func observed(ev *picket.Event, names []string) map[string]string {
	if names == nil {
		return nil
	}
	values := make(map[string]string, len(names))
	for _, name := range names {
		i := slices.IndexFunc(ev.Fields, func(f sigma.Field) bool { return f.Name == name && f.Value.Kind != sigma.Null })
		switch {
		case i >= 0:
			values[name] = strings.Clone(ev.Fields[i].Value.Text)
		case ev.Host != "" && slices.Contains(hostFields, name):
			values[name] = ev.Host
		}
	}
	return values
}

// A Follower works correlations out from what workers store, in one process
// at a time, and stores what comes of it. That all workers' observations meet
// in one place, in the order in which they were stored, makes a correlation
// see all hosts however many workers there are; and since that place is the
// store, kill -9 costs nothing.
type Follower struct {
	engine *Engine
	store  store.Correlations
	holder string
	log    *slog.Logger
	now    func() time.Time

	rules *sigma.RuleSet // that state is of
	state *correlation.Correlator
	mark  int64
	homes map[string]home
	led   time.Time // until when it leads
	saved time.Time // when all state was stored last
	down  bool      // the last step failed, and that was logged

	kept, dropped atomic.Int64
}

// A home is where the alert of a correlation and group is, while its firings
// follow one another.
type home struct {
	origin
	last time.Time
}

// An origin is where an event is from.
type origin struct{ agent, host string }

const (
	followEvery = 250 * time.Millisecond // how often it looks for observations
	leadFor     = 10 * time.Second
	saveEvery   = 30 * time.Second
	pageSize    = 10_000
)

// NewFollower returns a follower of the engine's correlations. holder names it
// among others.
func NewFollower(e *Engine, s store.Correlations, holder string, log *slog.Logger, now func() time.Time) *Follower {
	return &Follower{engine: e, store: s, holder: holder, log: log, now: now, homes: make(map[string]home)}
}

// Kept and Dropped are how many observations the state holds, and how many
// were given up for want of room.
func (f *Follower) Kept() int64    { return f.kept.Load() }
func (f *Follower) Dropped() int64 { return f.dropped.Load() }

// Run follows until ctx ends.
func (f *Follower) Run(ctx context.Context) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := f.Step(ctx)
		switch {
		case err == nil:
			f.down = false
		case ctx.Err() == nil && !f.down:
			f.down = true
			f.log.Error("correlations not worked out; trying again", "error", err)
		}
	}
}

// Step works out what has been stored since the last.
func (f *Follower) Step(ctx context.Context) error {
	rules := f.engine.Rules()
	if len(rules.Correlations()) == 0 {
		f.forget()
		return nil
	}
	now := f.now()
	if !now.Before(f.led) {
		ok, err := f.store.AcquireCorrelationLease(ctx, f.holder, leadFor)
		if err != nil || !ok {
			f.forget()
			return err
		}
		f.led = now.Add(leadFor / 3)
	}
	err := f.follow(ctx, rules, now)
	if err != nil {
		f.forget() // what was not stored is worked out again
	}
	if errors.Is(err, picket.ErrConflict) {
		return nil // another leads
	}
	return err
}

func (f *Follower) forget() {
	f.state, f.rules, f.led = nil, nil, time.Time{}
	f.kept.Store(0)
}

func (f *Follower) follow(ctx context.Context, rules *sigma.RuleSet, now time.Time) error {
	if f.state == nil || f.rules != rules {
		if err := f.rebuild(ctx, rules); err != nil {
			return err
		}
	}
	for {
		page, mark, err := f.store.Observations(ctx, f.mark, pageSize)
		if err != nil {
			return err
		}
		var fired []correlation.Match
		for i := range page {
			fired = f.state.Observe(observation(&page[i]), fired)
		}
		judged := len(fired)
		if len(page) == 0 {
			fired = f.state.Advance(now, fired)
		}
		c := store.CorrelationCommit{Offset: mark, Matches: f.matches(fired)}
		if len(fired) > judged || now.Sub(f.saved) > saveEvery {
			c.State = f.state.State()
			c.DeleteBefore = now.Add(-f.state.Retention())
			f.saved = now
		}
		if mark != f.mark || len(c.Matches) > 0 || c.State != nil {
			if err := f.conclude(ctx, c); err != nil {
				return err
			}
		}
		f.kept.Store(int64(f.state.Len()))
		if len(page) == 0 {
			return nil
		}
	}
}

func (f *Follower) conclude(ctx context.Context, c store.CorrelationCommit) error {
	saved, err := f.store.CommitCorrelations(ctx, f.holder, c)
	if err != nil {
		return err
	}
	f.mark = c.Offset
	f.dropped.Store(f.state.Evicted())
	for _, a := range saved.Opened {
		f.log.Info("alert", "alert", a.ID, "rule", a.RuleID, "title", a.Title, "level", a.Level.String(), "host", a.Host)
	}
	return nil
}

// rebuild makes the state from the observations that are kept, up to where the
// last conclusion was.
func (f *Follower) rebuild(ctx context.Context, rules *sigma.RuleSet) error {
	mark, state, err := f.store.CorrelationCheckpoint(ctx)
	if err != nil {
		return err
	}
	f.state, f.rules, f.saved, f.mark = correlation.New(rules.Correlations(), correlation.Options{}), rules, f.now(), 0
	if state != nil {
		if err := f.state.Restore(state); err != nil {
			f.log.Warn("state of correlations not read; windows under way may be judged twice", "error", err)
		}
	}
	for f.mark < mark {
		page, next, err := f.store.Observations(ctx, f.mark, pageSize)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		var fired []correlation.Match
		for i := range page {
			fired = f.state.Observe(observation(&page[i]), fired)
		}
		// Most are stored. Where a rule has changed since, some are not.
		if matches := f.matches(fired); len(matches) > 0 {
			if err := f.conclude(ctx, store.CorrelationCommit{Offset: mark, Matches: matches, Replay: true}); err != nil {
				return err
			}
		}
		f.mark = next
	}
	f.mark = mark
	return nil
}

func observation(o *store.Observation) correlation.Observation {
	return correlation.Observation{Rule: o.RuleID, Event: o.EventID, Time: o.Time, Arrived: o.Arrived, Fields: o.Fields, Context: origin{o.AgentID, o.Host}}
}

// matches makes a match of each event that made a correlation fire. They join
// one alert, on the host of the event that completed the first of firings that
// follow one another.
func (f *Follower) matches(fired []correlation.Match) []picket.Match {
	var out []picket.Match
	for _, firing := range fired {
		c := firing.Rule
		key := fmt.Sprint(c.ID, firing.Group)
		h, ok := f.homes[key]
		if !ok || firing.Time.Sub(h.last).Abs() > c.Timespan {
			h.origin = firing.Events[len(firing.Events)-1].Context.(origin)
		}
		h.last = firing.Time
		if len(f.homes) > maxHomes {
			clear(f.homes)
		}
		f.homes[key] = h
		for _, e := range firing.Events {
			out = append(out, picket.Match{
				ID: picket.MatchID(c.ID, e.ID), RuleID: c.ID, EventID: e.ID, AgentID: e.Context.(origin).agent, AlertAgent: h.agent,
				Host: h.host, Time: e.Time, Title: c.Title, Level: c.Level, Tags: c.Tags, Why: sigma.GroupEvidence(firing.Group),
			})
		}
	}
	return out
}

// maxHomes bounds what is remembered of alerts.
const maxHomes = 100_000
