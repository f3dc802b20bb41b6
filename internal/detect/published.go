package detect

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

// A bundled is what a server publishes: its files, and what is switched off.
type bundled struct {
	Files []file   `json:"files"`
	Off   []string `json:"off"`
}

// bundle makes what is published of files: zstd of JSON, named by its content.
func bundle(files []file, off map[string]bool, now time.Time) *store.PublishedRules {
	data, err := json.Marshal(bundled{files, slices.Sorted(maps.Keys(off))})
	if err != nil {
		panic(err) // texts
	}
	sum := sha256.Sum256(data)
	return &store.PublishedRules{Version: hex.EncodeToString(sum[:])[:12], Bundle: zst.Small(nil, data), Published: now}
}

// PublishTo makes the loader publish its rules, these and those that it loads
// from now on, for workers on other machines. Where that fails it is tried
// again for as long as Watch runs.
func (l *Loader) PublishTo(ctx context.Context, fleet store.Coordination) error {
	l.loading.Lock()
	defer l.loading.Unlock()
	files, off, err := l.from.read()
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.fleet, l.unsent = fleet, bundle(files, off, time.Now())
	l.mu.Unlock()
	l.publish(ctx)
	return nil
}

func (l *Loader) publish(ctx context.Context) {
	l.mu.Lock()
	unsent, fleet := l.unsent, l.fleet
	l.mu.Unlock()
	if unsent == nil {
		return
	}
	if err := fleet.PublishRules(ctx, *unsent); err != nil {
		l.log.Warn("rules not published; trying again", "error", err)
		return
	}
	l.log.Info("rules published", "version", unsent.Version, "bytes", len(unsent.Bundle))
	l.mu.Lock()
	if l.unsent == unsent {
		l.unsent = nil
	}
	l.mu.Unlock()
}

// published is the rules that a server has published.
type published struct {
	ctx   context.Context
	fleet store.Coordination
	last  store.PublishedRules
}

// NewSubscriber returns a loader of the rules that a server publishes in the
// fleet's store, and waits until there are some. ctx bounds that, and all that
// the loader asks of the store.
func NewSubscriber(ctx context.Context, fleet store.Coordination, log *slog.Logger) (*Loader, error) {
	p := &published{ctx: ctx, fleet: fleet}
	for said := false; ; said = true {
		l, err := newLoader(p, log)
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, picket.ErrNotFound) && !errors.Is(err, picket.ErrUnavailable) {
			return nil, err
		}
		if !said {
			log.Warn("no rules yet; waiting for a server to publish them", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// refresh asks for what is new.
func (p *published) refresh() error {
	r, err := p.fleet.PublishedRules(p.ctx, p.last.Version)
	if err == nil && r.Version != p.last.Version {
		p.last = r
	}
	return err
}

func (p *published) read() ([]file, map[string]bool, error) {
	if err := p.refresh(); err != nil {
		return nil, nil, err
	}
	data, err := zst.Decode(nil, p.last.Bundle)
	if err != nil {
		return nil, nil, fmt.Errorf("read published rules %s: %w", p.last.Version, err)
	}
	var b bundled
	if err := json.Unmarshal(data, &b); err != nil {
		return nil, nil, fmt.Errorf("read published rules %s: %w", p.last.Version, err)
	}
	off := make(map[string]bool)
	for _, id := range b.Off {
		off[id] = true
	}
	return b.Files, off, nil
}

// stamp is the version; where the store does not answer, the one before.
func (p *published) stamp() string {
	_ = p.refresh() // asked again soon
	return p.last.Version
}

func (p *published) switchOff(string, bool) error {
	return fmt.Errorf("the rules are a server's: %w", picket.ErrInvalid)
}
