package detect

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/picket-edr/picket"
)

// A Loader keeps an engine's rules the same as what is in the files: it loads
// them, follows their changes, and switches single rules off and on. It is
// safe for concurrent use.
type Loader struct {
	engine  *Engine
	sources []Source
	offFile string // ids that are switched off, one a line
	log     *slog.Logger

	loading   sync.Mutex // one load at a time
	switching sync.Mutex // guards offFile, from its reading to its writing
	mu        sync.Mutex // guards what follows
	set       Set
	loaded    time.Time
	stamp     string
}

// NewLoader loads the rules of the sources into a new engine. offFile, in the
// data directory, remembers the rules that are switched off.
func NewLoader(sources []Source, offFile string, log *slog.Logger) (*Loader, error) {
	l := &Loader{sources: sources, offFile: offFile, log: log}
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
	start, stamp := time.Now(), l.stampOf()
	off, err := ReadOff(l.offFile)
	if err != nil {
		return err
	}
	set, err := Load(l.sources, off)
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

// List returns what runs and what is switched off.
func (l *Loader) List() (on, off []Entry) {
	set, _ := l.Status()
	return set.On, set.Off
}

// Switch turns a rule on or off, now and after a restart.
func (l *Loader) Switch(_ context.Context, id string, on bool) error {
	l.switching.Lock()
	defer l.switching.Unlock()
	all, switched := l.List()
	if !slices.ContainsFunc(slices.Concat(all, switched), func(e Entry) bool { return e.ID == id }) {
		return fmt.Errorf("switch rule %s: %w", id, picket.ErrNotFound)
	}
	if err := SwitchOff(l.offFile, []string{id}, !on); err != nil {
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
		now := l.stampOf()
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

// stampOf describes the state of the rule files. Links are followed, as
// loading does: a mount of Kubernetes changes by where its links lead.
func (l *Loader) stampOf() string {
	var b strings.Builder
	add := func(name string) {
		info, err := os.Stat(name)
		if err != nil {
			fmt.Fprintf(&b, "%s %v\n", name, err)
			return
		}
		fmt.Fprintf(&b, "%s %d %d\n", name, info.Size(), info.ModTime().UnixNano())
	}
	for _, s := range l.sources {
		if s.FS != nil {
			continue
		}
		if info, err := os.Stat(s.Name); err != nil || !info.IsDir() {
			add(s.Name)
			continue
		}
		fs.WalkDir(os.DirFS(s.Name), ".", func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				fmt.Fprintf(&b, "%s %v\n", name, err)
			case hidden(name, d):
				return fs.SkipDir
			case !d.IsDir():
				add(filepath.Join(s.Name, filepath.FromSlash(name)))
			}
			return nil
		})
	}
	if info, err := os.Stat(l.offFile); err == nil {
		fmt.Fprintf(&b, "off %d %d\n", info.Size(), info.ModTime().UnixNano())
	}
	return b.String()
}
