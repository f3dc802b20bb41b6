package mongostore_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/picket-edr/picket/internal/store/mongostore"
	"github.com/picket-edr/picket/internal/store/mongostore/mongotest"
	"github.com/picket-edr/picket/internal/store/storetest"
	"github.com/picket-edr/picket/internal/zst"
)

// The databases under testdata were written by an earlier version of picket:
// one with every batch applied, one whose last batches are pending, and one
// whose last step is in the journal and has not been applied.
func TestGolden(t *testing.T) {
	server := mongotest.Start(t)
	opt := mongostore.Options{NoBackground: true, Now: func() time.Time { return storetest.GoldenTime }}
	for _, name := range []string{"applied", "pending", "journal"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			uri := server.Database(t)
			restore(t, uri, filepath.Join("testdata", name+".ndjson.zst"))
			s := open(t, uri, opt)
			if _, err := s.Totals(t.Context()); err != nil { // reading applies what is pending
				t.Fatal(err)
			}
			storetest.CheckGolden(t, s)
		})
	}
	t.Run("written now", func(t *testing.T) {
		t.Parallel()
		s := open(t, server.Database(t), opt)
		storetest.FillGolden(t, s)
		storetest.CheckGolden(t, s)
	})
}

// restore inserts the documents of a file into a database: a line for each, as
// extended JSON under the name of its collection.
func restore(t *testing.T, uri, file string) {
	t.Helper()
	packed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text, err := zst.Decode(nil, packed)
	if err != nil {
		t.Fatal(err)
	}
	client, name := driver(t, uri)
	for line := range bytes.Lines(text) {
		var doc bson.D
		if err := bson.UnmarshalExtJSON(line, true, &doc); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Database(name).Collection(doc[0].Key).InsertOne(t.Context(), doc[0].Value); err != nil {
			t.Fatal(err)
		}
	}
}
