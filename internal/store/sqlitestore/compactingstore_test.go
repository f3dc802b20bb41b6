package sqlitestore_test

import (
	"context"

	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
)

// A compactingStore merges and indexes everything after each Save.
type compactingStore struct{ *sqlitestore.Store }

func (e compactingStore) Save(ctx context.Context, batches ...store.Batch) ([]store.SaveResult, error) {
	out, err := e.Store.Save(ctx, batches...)
	if err == nil {
		err = e.Compact(ctx)
	}
	return out, err
}
