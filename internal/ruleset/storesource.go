package ruleset

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/zst"
)

// A bundleContent is what a server publishes: rule files and ids of disabled rules.
type bundleContent struct {
	Files []ruleFile `json:"files"`
	Off   []string   `json:"off"`
}

// newBundle returns files for publication: JSON compressed with zstd. The version is a
// hash of the content.
func newBundle(files []ruleFile, disabled map[string]bool, now time.Time) *store.PublishedRules {
	data, err := json.Marshal(bundleContent{files, slices.Sorted(maps.Keys(disabled))})
	if err != nil {
		panic(err) // strings always encode
	}
	sum := sha256.Sum256(data)
	return &store.PublishedRules{Version: hex.EncodeToString(sum[:])[:12], Bundle: zst.CompressForSize(nil, data), Published: now}
}

// StartPublishingTo publishes the loaded rules in the store, and all that are loaded
// later, for workers on other machines. Watch retries failures.
func (l *Loader) StartPublishingTo(ctx context.Context, coordination store.Coordination) error {
	l.loading.Lock()
	defer l.loading.Unlock()
	files, disabled, err := l.source.read()
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.publishTo, l.unpublished = coordination, newBundle(files, disabled, time.Now())
	l.mu.Unlock()
	l.publishPending(ctx)
	return nil
}

func (l *Loader) publishPending(ctx context.Context) {
	l.mu.Lock()
	unsent, coordination := l.unpublished, l.publishTo
	l.mu.Unlock()
	if unsent == nil {
		return
	}
	if err := coordination.PublishRules(ctx, *unsent); err != nil {
		l.log.Warn("publishing rules failed; retrying", "error", err)
		return
	}
	l.log.Info("rules published", "version", unsent.Version, "bytes", len(unsent.Bundle))
	l.mu.Lock()
	if l.unpublished == unsent {
		l.unpublished = nil
	}
	l.mu.Unlock()
}

// A storeSource reads the rules that a server publishes.
type storeSource struct {
	ctx   context.Context
	store store.Coordination
	last  store.PublishedRules
}

// NewPublishedLoader returns a loader of the rules that a server publishes in a
// store. It waits until there are rules. ctx bounds the wait, and all later requests
// of the loader to the store.
func NewPublishedLoader(ctx context.Context, coordination store.Coordination, log *slog.Logger) (*Loader, error) {
	p := &storeSource{ctx: ctx, store: coordination}
	for warned := false; ; warned = true {
		l, err := newLoader(p, log)
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, picket.ErrNotFound) && !errors.Is(err, picket.ErrUnavailable) {
			return nil, err
		}
		if !warned {
			log.Warn("no rules published yet; waiting for a server", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func (p *storeSource) sources() []Source { return nil }

// refresh reads the newest published rules.
func (p *storeSource) refresh() error {
	r, err := p.store.PublishedRules(p.ctx, p.last.Version)
	if err == nil && r.Version != p.last.Version {
		p.last = r
	}
	return err
}

func (p *storeSource) read() (files []ruleFile, disabledIDs map[string]bool, err error) {
	if err := p.refresh(); err != nil {
		return nil, nil, err
	}
	data, err := zst.Decompress(nil, p.last.Bundle)
	if err != nil {
		return nil, nil, fmt.Errorf("read published rules %s: %w", p.last.Version, err)
	}
	var b bundleContent
	if err := json.Unmarshal(data, &b); err != nil {
		return nil, nil, fmt.Errorf("read published rules %s: %w", p.last.Version, err)
	}
	disabled := make(map[string]bool)
	for _, id := range b.Off {
		disabled[id] = true
	}
	return b.Files, disabled, nil
}

// fingerprint returns the version or, if the store does not answer, the last known
// version.
func (p *storeSource) fingerprint() string {
	_ = p.refresh() // the next poll retries
	return p.last.Version
}

func (p *storeSource) setDisabled(string, bool) error {
	return fmt.Errorf("these rules belong to a server: %w", picket.ErrInvalid)
}
