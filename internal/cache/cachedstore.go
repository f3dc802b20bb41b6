package cache

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// statisticsCacheTTL is how old the statistics may be.
const statisticsCacheTTL = 2 * time.Second

const alertCountsKey = "alert-counts"

// A CachedStore is a store whose statistics are cached.
type CachedStore struct {
	store.Store
	cache Cache
}

// NewCachedStore returns s with its statistics cached in c.
func NewCachedStore(s store.Store, c Cache) *CachedStore { return &CachedStore{s, c} }

// cached returns the cached result of f, which is stored as JSON.
func cached[T any](ctx context.Context, c Cache, key string, f func(context.Context) (T, error)) (v T, err error) {
	data, err := c.Get(ctx, key, statisticsCacheTTL, func(ctx context.Context) ([]byte, error) {
		v, err := f(ctx)
		if err != nil {
			return nil, err
		}
		return json.Marshal(v)
	})
	if err == nil {
		err = json.Unmarshal(data, &v)
	}
	return v, err
}

// AlertCounts implements store.Alerts.
func (s *CachedStore) AlertCounts(ctx context.Context) (store.AlertCounts, error) {
	return cached(ctx, s.cache, alertCountsKey, s.Store.AlertCounts)
}

// Totals implements store.Events.
func (s *CachedStore) Totals(ctx context.Context) (store.Totals, error) {
	return cached(ctx, s.cache, "totals", s.Store.Totals)
}

// Activity implements store.Events.
func (s *CachedStore) Activity(ctx context.Context, since, until time.Time) ([]store.MinuteCounts, error) {
	key := fmt.Sprintf("activity/%d/%d", since.Unix(), until.Unix())
	return cached(ctx, s.cache, key, func(ctx context.Context) ([]store.MinuteCounts, error) { return s.Store.Activity(ctx, since, until) })
}

// CountHosts implements store.Hosts. Times within ten seconds share a value.
func (s *CachedStore) CountHosts(ctx context.Context, since time.Time) (total, online int64, err error) {
	key := fmt.Sprintf("hosts/%d", since.Unix()/10)
	n, err := cached(ctx, s.cache, key, func(ctx context.Context) (n [2]int64, err error) {
		n[0], n[1], err = s.Store.CountHosts(ctx, since)
		return n, err
	})
	return n[0], n[1], err
}

// UpdateAlert implements store.Alerts. The change shows in the counts at once.
func (s *CachedStore) UpdateAlert(ctx context.Context, id string, u store.AlertUpdate) (picket.Alert, error) {
	a, err := s.Store.UpdateAlert(ctx, id, u)
	s.cache.Invalidate(context.WithoutCancel(ctx), alertCountsKey)
	return a, err
}
