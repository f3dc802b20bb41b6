package correlation_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/correlation"
)

// stateObservations are the observations of the Correlator that wrote
// testdata/state. They are repeated after a restart.
var stateObservations = []obs{
	{"a", 0, "1", "ann", "x"}, {"a", 20, "2", "ann", "x"}, // few of a
	{"a", 0, "3", "bob", "x\u00e9\x00\""}, {"a", 1, "4", "bob", "x\u00e9\x00\""}, {"a", 2, "5", "bob", "x\u00e9\x00\""}, // not few
	{"b", 10, "6", "bob", "x"},
	{"a", 90, "7", "ann", "x"}, // its window is open
}

// savedBucket is one element of the state, with the names that are stored.
type savedBucket struct {
	Rule   string
	Values []string
	To     int64
	Fed    []struct {
		At, From, Arrived int64
		Event             string
		Kept              map[string]string
	}
}

func readState(t *testing.T, data []byte) []savedBucket {
	t.Helper()
	var all []savedBucket
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&all); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b savedBucket) int {
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), slices.Compare(a.Values, b.Values))
	})
	return all
}

// State that an earlier version wrote is read: windows that were evaluated are
// not evaluated again, and the matches of inner correlations are not lost.
func TestCorrelatorRestoresEarlierState(t *testing.T) {
	rules, err := os.ReadFile(filepath.Join("testdata", "state", "rules.yml"))
	if err != nil {
		t.Fatal(err)
	}
	state, err := os.ReadFile(filepath.Join("testdata", "state", "state.json"))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := sigma.Parse("rules.yml", rules)
	if err != nil {
		t.Fatal(err)
	}
	rs, errs := sigma.Compile(parsed, sigma.Options{})
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	run := func(state []byte) string {
		c := correlation.New(rs.Correlations(), correlation.Options{})
		if state != nil {
			if err := c.Restore(state); err != nil {
				t.Fatal(err)
			}
			if d := gocmp.Diff(readState(t, state), readState(t, c.State())); d != "" {
				t.Errorf("the state that is written differs from the one read (-read +written):\n%s", d)
			}
		}
		var matches []correlation.Match
		for _, s := range stateObservations {
			matches = c.Observe(s.observation(s.at), matches)
		}
		matches = c.Observe(obs{"b", 100, "8", "ann", ""}.observation(100), matches)
		return summarize(eventsByGroup(c.Advance(epoch.Add(5*time.Minute), matches), nil))
	}
	if got, want := run(state), "then b ann: 1 2 7 8"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got, want := run(nil), "b ann: 1 2\nthen b ann: 1 2 7 8"; got != want {
		t.Errorf("without the state: got\n%s\nwant\n%s", got, want)
	}
}
