package ruleset

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/internal/store"
)

// A Loader loads rules into an engine, reloads them when their source changes, and
// enables and disables single rules. It is safe for concurrent use.
type Loader struct {
	engine *detect.Engine
	source ruleSource
	log    *slog.Logger

	loading     sync.Mutex // one load at a time, guards good
	good        goodFiles
	mu          sync.Mutex // guards what follows
	set         LoadedRules
	loaded      time.Time
	fingerprint string
	unpublished *store.PublishedRules // still to be published
	publishTo   store.Coordination    // nil: rules are not published
}

// A ruleSource provides the rule files of a Loader.
type ruleSource interface {
	// read returns the files and the ids of disabled rules.
	read() (files []ruleFile, disabledIDs map[string]bool, err error)
	// sources are where the files are; nil: elsewhere.
	sources() []Source
	// fingerprint identifies the state of the files; it changes if they do.
	fingerprint() string
	// setDisabled disables or enables a rule persistently.
	setDisabled(id string, disabled bool) error
}

// NewLoader returns a loader of the rules of sources. disabledFile lists the ids of
// disabled rules.
func NewLoader(sources []Source, disabledFile string, log *slog.Logger) (*Loader, error) {
	return newLoader(&fileSource{places: sources, disabledFile: disabledFile}, log)
}

func newLoader(source ruleSource, log *slog.Logger) (*Loader, error) {
	l := &Loader{source: source, log: log}
	if err := l.Load(); err != nil {
		return nil, err
	}
	return l, nil
}

// Engine returns the engine that runs the rules.
func (l *Loader) Engine() *detect.Engine { return l.engine }

// logMismatch logs a failed self-check of the engine.
func (l *Loader) logMismatch(m detect.Mismatch) {
	l.log.Error("matcher self-check failed: index and full evaluation disagree; please report the event and the rules",
		"event", m.EventID, "index", m.Index, "expected", m.Expected)
}

// Load reads all rules and replaces the engine's. If a source cannot be read, the
// previous rules stay; if a file has problems that it did not have before, its last
// version without them stays.
func (l *Loader) Load() error {
	l.loading.Lock()
	defer l.loading.Unlock()
	start, stamp := time.Now(), l.source.fingerprint()
	files, disabled, err := l.source.read()
	if err != nil {
		return err
	}
	set, compiled, err := l.good.compileWithGood(files, disabled, start)
	if err != nil {
		return err
	}
	set.Problems = append(set.Problems, emptySourceProblems(l.source.sources(), files)...)
	for _, note := range set.Warnings {
		l.log.Warn("pipeline warning", "warning", note)
	}
	for _, p := range set.Problems {
		l.log.Warn("rule not loaded", "file", p.File, "line", p.Line, "column", p.Column, "reason", p.Reason, "hint", p.Hint, "earlier_version_runs", p.RunsEarlierVersion)
	}
	if l.engine == nil {
		l.engine = detect.NewEngine(set.Rules, l.logMismatch)
	} else {
		l.engine.ReplaceRules(set.Rules)
	}
	l.mu.Lock()
	l.set, l.loaded, l.fingerprint = set, start, stamp
	if l.publishTo != nil {
		l.unpublished = newBundle(compiled, disabled, start)
	}
	l.mu.Unlock()
	n := CountKinds(set.Enabled)
	l.log.Info("rules loaded", "rules", n.Rules, "correlations", n.Correlations, "filters", n.Filters, "disabled", len(set.Disabled), "expired", len(set.Expired), "problems", len(set.Problems),
		"revision", set.Revision, "took", time.Since(start).Round(time.Millisecond))
	return nil
}

// Status returns the loaded rules and when they were loaded.
func (l *Loader) Status() (rules LoadedRules, loadedAt time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.set, l.loaded
}

// Revision identifies the loaded rules by their content.
func (l *Loader) Revision() string {
	set, _ := l.Status()
	return set.Revision
}

// List returns the enabled and the disabled rules.
func (l *Loader) List() (enabled, disabled []RuleInfo) {
	set, _ := l.Status()
	return set.Enabled, set.Disabled
}

// SetEnabled enables or disables a rule, now and after a restart. An unknown rule is
// picket.ErrNotFound. The rule may be one of a sender, such as Falco.
func (l *Loader) SetEnabled(_ context.Context, id string, on bool) error {
	all, switched := l.List()
	_, ofSender := normalize.SenderRuleTitle(id)
	if !ofSender && !slices.ContainsFunc(slices.Concat(all, switched), func(e RuleInfo) bool { return e.ID == id }) {
		return fmt.Errorf("switch rule %s: %w", id, picket.ErrNotFound)
	}
	if err := l.source.setDisabled(id, !on); err != nil {
		return fmt.Errorf("switch rule %s: %w", id, err)
	}
	return l.Load()
}

// Watch reloads the rules when their source changes or a filter expires, until ctx ends. It polls names,
// sizes and times of files, which works on every file system. A change is loaded
// once two consecutive polls see it, so that files are not read while they are being
// copied.
func (l *Loader) Watch(ctx context.Context, pollInterval time.Duration) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.publishPending(ctx)
		now := l.source.fingerprint()
		l.mu.Lock()
		changed := now != l.fingerprint || !l.set.NextExpiry.IsZero() && !time.Now().Before(l.set.NextExpiry)
		l.mu.Unlock()
		if changed && now == last {
			if err := l.Load(); err != nil {
				l.log.Error("rule reload failed; keeping the previous rules", "error", err)
				l.mu.Lock()
				l.fingerprint = now // log once
				l.mu.Unlock()
			}
		}
		last = now
	}
}
