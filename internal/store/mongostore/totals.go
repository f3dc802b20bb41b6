package mongostore

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/picket-edr/picket/internal/store"
)

// Totals implements store.Events.
func (s *Store) Totals(ctx context.Context) (store.Totals, error) {
	t, err := s.readTotals(ctx)
	var disk int64
	if err == nil {
		disk, err = s.disk.get(ctx, s)
	}
	if err != nil {
		return store.Totals{}, fmt.Errorf("read totals: %w", err)
	}
	return store.Totals{Stored: t.Stored, Duplicate: t.Duplicate, Conflicting: t.Conflicting, Matches: t.Matches, Events: t.Stored - t.Deleted,
		RawBytes: t.Raw - t.DeletedRaw, DiskBytes: disk}, nil
}

// diskUsage caches how much the database takes on disk. Servers take long to
// compute it, so it is refreshed in the background.
type diskUsage struct {
	mu        sync.Mutex
	refreshed time.Time
	bytes     int64
}

// diskUsageMaxAge is how old the cached value may be before it is refreshed.
const diskUsageMaxAge = 30 * time.Second

func (u *diskUsage) refresh(ctx context.Context, s *Store) {
	u.mu.Lock()
	old := time.Since(u.refreshed) > diskUsageMaxAge
	u.mu.Unlock()
	if !old {
		return
	}
	bytes, err := s.diskBytes(ctx)
	if err != nil {
		return // get meets the error too
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.bytes, u.refreshed = bytes, time.Now()
}

// get returns the cached value, or asks the server if that is missing or too old.
func (u *diskUsage) get(ctx context.Context, s *Store) (int64, error) {
	u.mu.Lock()
	bytes, fresh := u.bytes, time.Since(u.refreshed) < 4*diskUsageMaxAge
	u.mu.Unlock()
	if fresh && bytes > 0 {
		return bytes, nil
	}
	return s.diskBytes(ctx)
}

func (s *Store) diskBytes(ctx context.Context) (int64, error) {
	var disk struct {
		Storage float64 `bson:"storageSize"`
		Indexes float64 `bson:"indexSize"`
	}
	err := withTimeout(ctx, opTimeout, func(ctx context.Context) error {
		return s.db.RunCommand(ctx, bson.D{bsonElem("dbStats", 1)}).Decode(&disk)
	})
	return int64(disk.Storage + disk.Indexes), err
}
