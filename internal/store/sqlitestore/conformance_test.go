package sqlitestore_test

import (
	"path/filepath"
	"testing"

	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
	"github.com/picket-edr/picket/internal/store/storetest"
)

func open(t testing.TB, path string, opt sqlitestore.Options) *sqlitestore.Store {
	t.Helper()
	s, err := sqlitestore.Open(path, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	// Blocks as they are saved; merged in the background into tiny blocks; and
	// merged and indexed at once after each Save. Only events are in blocks.
	t.Run("fresh", func(t *testing.T) {
		storetest.RunEvents(t, func(t *testing.T) store.Store {
			return open(t, filepath.Join(t.TempDir(), "events.db"), sqlitestore.Options{NoBackground: true})
		})
	})
	t.Run("background", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) store.Store {
			return open(t, filepath.Join(t.TempDir(), "events.db"), sqlitestore.Options{BlockEvents: 64})
		})
	})
	t.Run("quotas", func(t *testing.T) {
		storetest.RunQuotas(t, func(t *testing.T) store.Store {
			return open(t, filepath.Join(t.TempDir(), "events.db"), sqlitestore.Options{MaxNewAlerts: storetest.QuotaOfAlerts})
		})
	})
	t.Run("indexed", func(t *testing.T) {
		storetest.RunEvents(t, func(t *testing.T) store.Store {
			return compactingStore{open(t, filepath.Join(t.TempDir(), "events.db"), sqlitestore.Options{NoBackground: true})}
		})
	})
}
