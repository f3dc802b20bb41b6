package mongostore_test

import (
	"context"
	"crypto/rand"
	"os"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/mongostore"
	"github.com/picket-edr/picket/internal/store/mongostore/mongotest"
	"github.com/picket-edr/picket/internal/store/storetest"
	"github.com/picket-edr/picket/internal/testenv"
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
	t.Run("ferretdb", func(t *testing.T) {
		server := mongotest.Start(t)
		storetest.Run(t, func(t *testing.T) store.Store {
			return open(t, server.Database(t), mongostore.Options{})
		})
		storetest.RunQuotas(t, func(t *testing.T) store.Store {
			return open(t, server.Database(t), mongostore.Options{MaxNewAlerts: storetest.QuotaOfAlerts})
		})
	})
	t.Run("mongodb", func(t *testing.T) {
		uri := os.Getenv("PICKET_TEST_MONGO")
		if uri == "" {
			t.Skip("PICKET_TEST_MONGO is not set to the URI of a MongoDB")
		}
		openNew := func(t *testing.T, opt mongostore.Options) store.Store {
			name := "picket_test_" + strings.ToLower(rand.Text()[:12])
			t.Cleanup(func() { drop(t, uri, name) })
			return open(t, withDatabase(t, uri, name), opt)
		}
		storetest.Run(t, func(t *testing.T) store.Store { return openNew(t, mongostore.Options{}) })
		storetest.RunQuotas(t, func(t *testing.T) store.Store {
			return openNew(t, mongostore.Options{MaxNewAlerts: storetest.QuotaOfAlerts})
		})
	})
}

// withDatabase sets the database of a URI.
func withDatabase(t testing.TB, uri, name string) string {
	t.Helper()
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok {
		t.Fatalf("PICKET_TEST_MONGO %q is not a URI", uri)
	}
	host, params, _ := strings.Cut(rest, "?")
	host, _, _ = strings.Cut(host, "/")
	return scheme + "://" + host + "/" + name + "?" + params
}

func drop(t testing.TB, uri, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), testenv.Timeout)
	defer cancel()
	c, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err == nil {
		err = c.Database(name).Drop(ctx)
	}
	if err != nil {
		t.Error(err)
	}
}
