package sqlitestore_test

import (
	"context"

	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
)

// eager is a store that indexes what it saves at once.
type eager struct{ *sqlitestore.Store }

func (e eager) Save(ctx context.Context, batches ...store.Batch) ([]store.SaveResult, error) {
	out, err := e.Store.Save(ctx, batches...)
	if err == nil {
		err = e.Compact(ctx)
	}
	return out, err
}
