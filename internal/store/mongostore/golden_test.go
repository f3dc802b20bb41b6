package mongostore_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/picket-edr/picket/internal/store/mongostore"
	"github.com/picket-edr/picket/internal/store/mongostore/mongotest"
	"github.com/picket-edr/picket/internal/store/storetest"
	"github.com/picket-edr/picket/internal/zst"
)

var goldenOptions = mongostore.Options{NoBackground: true, Now: func() time.Time { return storetest.GoldenTime }}

// The databases under testdata were written by an earlier version of picket: one
// with every batch applied, one whose last batches are pending, and one whose last
// step is in the journal and has not been applied.
func TestGolden(t *testing.T) {
	server := mongotest.Start(t)
	for _, name := range []string{"applied", "pending", "journal"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			uri := server.Database(t)
			insertGolden(t, uri, name)
			s := open(t, uri, goldenOptions)
			if _, err := s.Totals(t.Context()); err != nil { // reading applies what is pending
				t.Fatal(err)
			}
			storetest.CheckGolden(t, s)
		})
	}
	t.Run("written now", func(t *testing.T) {
		t.Parallel()
		s := open(t, server.Database(t), goldenOptions)
		storetest.FillGolden(t, s)
		storetest.CheckGolden(t, s)
	})
}

// A database with senders.
func TestGoldenSenders(t *testing.T) {
	server := mongotest.Start(t)
	written := server.Database(t)
	s := open(t, written, goldenOptions)
	storetest.FillGoldenSenders(t, s)
	if d := cmp.Diff(fieldNames(t, readGolden(t, "senders")), fieldNames(t, readDatabase(t, written))); d != "" {
		t.Errorf("names (-earlier +now):\n%s", d)
	}
	storetest.CheckGoldenSenders(t, s)

	uri := server.Database(t)
	insertGolden(t, uri, "senders")
	storetest.CheckGoldenSenders(t, open(t, uri, goldenOptions))
}

// insertGolden fills a database with the documents of a file under testdata.
func insertGolden(t *testing.T, uri, name string) {
	t.Helper()
	client, database := driver(t, uri)
	for _, d := range readGolden(t, name) {
		if _, err := client.Database(database).Collection(d.collection).InsertOne(t.Context(), d.doc); err != nil {
			t.Fatal(err)
		}
	}
}

// What is written now has the same names as the databases under testdata, so an
// earlier version can read it. crashBefore is how far saving the last batches gets.
func TestGoldenNames(t *testing.T) {
	server := mongotest.Start(t)
	for name, crashBefore := range map[string]string{"applied": "", "pending": "step", "journal": "totals"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			uri := server.Database(t)
			s := open(t, uri, goldenOptions)
			storetest.FillGoldenWithoutLastBatches(t, s)
			crashed := atomic.Bool{}
			last := open(t, uri, goldenOptions.WithFault(func(before string) error {
				if before == crashBefore || crashed.Load() {
					crashed.Store(true)
					return errCrashed
				}
				return nil
			}))
			if _, err := last.Save(t.Context(), storetest.GoldenBatchesSavedLast(t)...); (err != nil) != (crashBefore != "") {
				t.Fatalf("save the last batches: %v", err)
			}
			if d := cmp.Diff(fieldNames(t, readGolden(t, name), addedNames...), fieldNames(t, readDatabase(t, uri))); d != "" {
				t.Errorf("names (-earlier +now):\n%s", d)
			}
		})
	}
}

// addedNames are of fields that came after testdata was written. Earlier versions
// ignore them.
var addedNames = []string{"audit.hash", "audit.hash (string)", "audit.previous", "audit.previous (string)",
	"telemetry_events.hash", "telemetry_events.hash (int64)"}

// A goldenDoc is a document of a collection.
type goldenDoc struct {
	collection string
	doc        bson.D
}

// readGolden reads the documents of a file under testdata: one in each line, as
// extended JSON under the name of its collection.
func readGolden(t *testing.T, name string) []goldenDoc {
	t.Helper()
	packed, err := os.ReadFile(filepath.Join("testdata", name+".ndjson.zst"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := zst.Decompress(nil, packed)
	if err != nil {
		t.Fatal(err)
	}
	var out []goldenDoc
	for line := range bytes.Lines(text) {
		var d bson.D
		if err := bson.UnmarshalExtJSON(line, true, &d); err != nil {
			t.Fatal(err)
		}
		out = append(out, goldenDoc{d[0].Key, d[0].Value.(bson.D)})
	}
	return out
}

func readDatabase(t *testing.T, uri string) []goldenDoc {
	t.Helper()
	client, database := driver(t, uri)
	db := client.Database(database)
	collections, err := db.ListCollectionNames(t.Context(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	var out []goldenDoc
	for _, c := range collections {
		cur, err := db.Collection(c).Find(t.Context(), bson.D{})
		if err != nil {
			t.Fatal(err)
		}
		var docs []bson.D
		if err := cur.All(t.Context(), &docs); err != nil {
			t.Fatal(err)
		}
		for _, d := range docs {
			out = append(out, goldenDoc{c, d})
		}
	}
	return out
}

// fieldNames returns the paths of all fields, also of those in compressed JSON and
// BSON, and others.
func fieldNames(t *testing.T, docs []goldenDoc, others ...string) []string {
	t.Helper()
	names := make(map[string]bool)
	for _, name := range others {
		names[name] = true
	}
	for _, d := range docs {
		addFieldNames(names, d.collection, d.doc)
	}
	return slices.Sorted(maps.Keys(names))
}

func addFieldNames(names map[string]bool, path string, value any) {
	names[path] = true
	switch v := value.(type) {
	case bson.D:
		for _, e := range v {
			addFieldNames(names, path+"."+e.Key, e.Value)
		}
	case bson.A:
		for _, e := range v {
			addFieldNames(names, path, e)
		}
	case map[string]any:
		for key, e := range v {
			addFieldNames(names, path+"."+key, e)
		}
	case []any:
		for _, e := range v {
			addFieldNames(names, path, e)
		}
	case bson.Binary:
		plain, err := zst.Decompress(nil, v.Data)
		if err != nil {
			return // not compressed
		}
		var fromJSON any
		var fromBSON bson.D
		if json.Unmarshal(plain, &fromJSON) == nil {
			addFieldNames(names, path, fromJSON)
		} else if bson.Unmarshal(plain, &fromBSON) == nil {
			addFieldNames(names, path, fromBSON)
		}
	default:
		names[fmt.Sprintf("%s (%T)", path, v)] = true
	}
}
