package mongostore

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// The names that testdata has no example of: a deletion in the journal, and the
// match of a correlation in a pending batch.
func TestStoredNames(t *testing.T) {
	text, err := bson.Marshal(redoRecord{Step: 1, Deleted: []string{"event"}, DeletedUpTo: 2})
	if err != nil {
		t.Fatal(err)
	}
	var doc bson.D
	if err := bson.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range doc {
		got = append(got, e.Key)
	}
	if d := cmp.Diff([]string{"step", "put", "at", "gone", "gone_seq"}, got); d != "" {
		t.Errorf("names of a journaled deletion (-want +got):\n%s", d)
	}
	text, err = json.Marshal(matchRecord{AlertAgent: "agent"})
	if err != nil {
		t.Fatal(err)
	}
	var match map[string]any
	if err := json.Unmarshal(text, &match); err != nil {
		t.Fatal(err)
	}
	if match["AlertAgent"] != "agent" {
		t.Errorf("match %s", text)
	}
}
