package mongostore

import (
	"fmt"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/testenv"
)

// A minute that an earlier version journaled, and that MongoDB would not store because
// it is too large, is made small, and counts the same.
func TestLargeMinutes(t *testing.T) {
	m := minuteDoc{ID: "m", Start: 60_000_000, Step: 7}
	for i := range 40_000 {
		m.Events = append(m.Events, namedCount{fmt.Sprint(i, strings.Repeat("t", 500)), 2})
	}
	raw, err := bson.Marshal(&m)
	testenv.Check(t, err)
	if len(raw) < 16<<20 {
		t.Fatalf("only %d bytes", len(raw))
	}
	docs := []bson.Raw{raw}
	testenv.Check(t, shrinkMinutes(docs))
	var got minuteDoc
	testenv.Check(t, bson.Unmarshal(docs[0], &got))
	total := int64(0)
	for _, c := range got.Events {
		total += c.N
	}
	if len(docs[0]) > 1<<20 || total != 80_000 || got.ID != m.ID || got.Step != m.Step || len(got.Events) != store.MaxTypesPerMinute+1 {
		t.Errorf("%d bytes, %d events of %d types", len(docs[0]), total, len(got.Events))
	}
	got.Events = addTypeCount(got.Events, "new", 1)
	if last := got.Events[len(got.Events)-1]; last.Name != store.OtherTypesName || last.N != 2*(40_000-store.MaxTypesPerMinute)+1 {
		t.Errorf("others are %+v", last)
	}
}
