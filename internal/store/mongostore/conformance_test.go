package mongostore_test

import (
	"testing"

	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/mongostore"
	"github.com/picket-edr/picket/internal/store/mongostore/mongotest"
	"github.com/picket-edr/picket/internal/store/storetest"
)

func open(t testing.TB, uri string, opt mongostore.Options) *mongostore.Store {
	t.Helper()
	s, err := mongostore.Open(t.Context(), uri, opt)
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
	server := mongotest.Start(t)
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, server.Database(t), mongostore.Options{})
	})
	storetest.RunQuotas(t, func(t *testing.T) store.Store {
		return open(t, server.Database(t), mongostore.Options{MaxNewAlerts: storetest.QuotaOfAlerts})
	})
	t.Run("before MongoDB 8", func(t *testing.T) {
		storetest.RunQuotas(t, func(t *testing.T) store.Store {
			return open(t, server.Database(t), mongostore.Options{MaxNewAlerts: storetest.QuotaOfAlerts}.WithoutBulkWrite())
		})
	})
}
