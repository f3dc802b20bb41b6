package detect

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// A Loader keeps an engine's rules the same as what is in the files: it loads
// them, follows their changes, and switches single rules off and on. It is
// safe for concurrent use.
type Loader struct {
	engine *Engine
	from   library
	log    *slog.Logger

	loading sync.Mutex // one load at a time
	mu      sync.Mutex // guards what follows
	set     Set
	loaded  time.Time
	stamp   string
	unsent  *store.PublishedRules // that are still to be published
	fleet   store.Coordination    // where to, or nil
}

// A library is where a Loader's rules come from.
type library interface {
	// read returns the files, and the ids of what is switched off.
	read() ([]file, map[string]bool, error)
	// stamp describes the state of the files: another one, other files.
	stamp() string
	// switchOff is for rules that can be switched here.
	switchOff(id string, off bool) error
}

// NewLoader loads the rules of the sources into a new engine. offFile, in the
// data directory, remembers the rules that are switched off.
func NewLoader(sources []Source, offFile string, log *slog.Logger) (*Loader, error) {
	return newLoader(&disk{sources: sources, offFile: offFile}, log)
}

func newLoader(from library, log *slog.Logger) (*Loader, error) {
	l := &Loader{from: from, log: log}
	if err := l.Load(); err != nil {
		return nil, err
	}
	return l, nil
}

// Engine returns the engine that runs the rules.
func (l *Loader) Engine() *Engine { return l.engine }

// Load reads all rules again and puts them in force. When a source can't be
// read, the rules that run go on.
func (l *Loader) Load() error {
	l.loading.Lock()
	defer l.loading.Unlock()
	start, stamp := time.Now(), l.from.stamp()
	files, off, err := l.from.read()
	if err != nil {
		return err
	}
	set, err := compile(files, off)
	if err != nil {
		return err
	}
	for _, note := range set.Notes {
		l.log.Warn("pipeline", "note", note)
	}
	for _, p := range set.Problems {
		l.log.Warn("rule not loaded", "file", p.File, "line", p.Line, "column", p.Column, "reason", p.Reason, "hint", p.Hint)
	}
	if l.engine == nil {
		l.engine = NewEngine(set.Rules)
	} else {
		l.engine.Replace(set.Rules)
	}
	l.mu.Lock()
	l.set, l.loaded, l.stamp = set, start, stamp
	if l.fleet != nil {
		l.unsent = bundle(files, off, start)
	}
	l.mu.Unlock()
	l.log.Info("rules loaded", "rules", set.Rules.Len(), "off", len(set.Off), "problems", len(set.Problems),
		"revision", set.Revision, "took", time.Since(start).Round(time.Millisecond))
	return nil
}

// Status returns what is in force and since when.
func (l *Loader) Status() (Set, time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.set, l.loaded
}

// Revision names the rules in force by their content.
func (l *Loader) Revision() string {
	set, _ := l.Status()
	return set.Revision
}

// List returns what runs and what is switched off.
func (l *Loader) List() (on, off []Entry) {
	set, _ := l.Status()
	return set.On, set.Off
}

// Switch turns a rule on or off, now and after a restart.
func (l *Loader) Switch(_ context.Context, id string, on bool) error {
	all, switched := l.List()
	if !slices.ContainsFunc(slices.Concat(all, switched), func(e Entry) bool { return e.ID == id }) {
		return fmt.Errorf("switch rule %s: %w", id, picket.ErrNotFound)
	}
	if err := l.from.switchOff(id, !on); err != nil {
		return fmt.Errorf("switch rule %s: %w", id, err)
	}
	return l.Load()
}

// Watch loads the rules again when their files change, until ctx ends. It
// looks at names, sizes and times, which works on every file system; a change
// is loaded when two looks in a row see the same, so not half-way through a
// copy.
func (l *Loader) Watch(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.publish(ctx)
		now := l.from.stamp()
		l.mu.Lock()
		changed := now != l.stamp
		l.mu.Unlock()
		if changed && now == last {
			if err := l.Load(); err != nil {
				l.log.Error("rules not reloaded; the ones before go on", "error", err)
				l.mu.Lock()
				l.stamp = now // said once
				l.mu.Unlock()
			}
		}
		last = now
	}
}
