package mongostore_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/mongostore"
	"github.com/picket-edr/picket/internal/store/mongostore/mongotest"
	"github.com/picket-edr/picket/internal/store/storetest"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/internal/zst"
)

var goldenOptions = mongostore.Options{NoBackground: true, Now: func() time.Time { return storetest.GoldenTime }}

var update = flag.Bool("update", false, "rewrite the databases under testdata")

// The databases under testdata were written by an earlier version of picket. What is
// written now has the same names, so an earlier version can read it.
func TestGolden(t *testing.T) {
	server := mongotest.Start(t)
	for name, golden := range map[string]struct {
		fill  func(t testing.TB, s store.Store)
		check func(t *testing.T, s store.Store)
	}{
		"database": {storetest.FillGolden, storetest.CheckGolden},
		"senders":  {storetest.FillGoldenSenders, storetest.CheckGoldenSenders},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			written := server.Database(t)
			s := open(t, written, goldenOptions)
			golden.fill(t, s)
			if *update {
				writeGolden(t, name, readDatabase(t, written))
			}
			if d := cmp.Diff(fieldNames(t, readGolden(t, name)), fieldNames(t, readDatabase(t, written))); d != "" {
				t.Errorf("names (-earlier +now):\n%s", d)
			}
			golden.check(t, s)

			uri := server.Database(t)
			insertGolden(t, uri, name)
			golden.check(t, open(t, uri, goldenOptions))
		})
	}
}

// A database in the layout without transactions is refused, with what to do.
func TestGoldenWithoutTransactions(t *testing.T) {
	uri := mongotest.Start(t).Database(t)
	insertGolden(t, uri, "journal")
	_, err := mongostore.Open(t.Context(), uri, mongostore.Options{})
	if !errors.Is(err, picket.ErrConflict) || !strings.Contains(err.Error(), "name a new database") || strings.Contains(err.Error(), "\n") {
		t.Errorf("open: %v", err)
	}
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

// writeGolden writes a file that readGolden reads.
func writeGolden(t *testing.T, name string, docs []goldenDoc) {
	t.Helper()
	var text []byte
	for _, d := range docs {
		line, err := bson.MarshalExtJSON(bson.D{{Key: d.collection, Value: d.doc}}, true, false)
		testenv.Check(t, err)
		text = append(append(text, line...), '\n')
	}
	testenv.Check(t, os.WriteFile(filepath.Join("testdata", name+".ndjson.zst"), zst.CompressForSpeed(nil, text), 0o644))
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
