package agent_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/internal/agent"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/scan"
	"github.com/picket-edr/picket/internal/testenv"
)

// A source continues after its last spooled event, and starts over once it has
// yielded everything.
func TestCheckpoint(t *testing.T) {
	s, dir := newServer(t), t.TempDir()
	checkpoints := agent.NewCheckpointFile(filepath.Join(dir, "checkpoints.json"))
	spool, err := sqlitequeue.Open(filepath.Join(dir, "spool.db"), sqlitequeue.Options{})
	testenv.Check(t, err)
	all := numbered(100)

	// The first run spools 60 events and is stopped.
	ctx, cancel := context.WithCancel(t.Context())
	o := fastOptions(t, s, spool, list{events: all.events[:60], hang: true})
	o.Checkpoints, o.BatchEvents, o.BatchAge = checkpoints, 7, 10*time.Millisecond
	done := make(chan error, 1)
	go func() { done <- agent.New(o).Run(ctx) }()
	testenv.Until(t, "60 events are spooled", func() bool { p, _ := checkpoints.Load("test"); return p == "60" })
	cancel()
	testenv.Check(t, <-done)
	testenv.Check(t, spool.Close())
	spool, err = sqlitequeue.Open(filepath.Join(dir, "spool.db"), sqlitequeue.Options{})
	testenv.Check(t, err)

	// The second run has the whole source and spools only the rest.
	o = fastOptions(t, s, spool, all)
	o.Checkpoints = checkpoints
	if m := run(t, o); m.Read != 40 {
		t.Errorf("%d events read, want 40", m.Read)
	}
	testenv.Check(t, spool.Close())
	wantEventsOnce(t, s, all)
	if p, err := checkpoints.Load("test"); p != "" || err != nil {
		t.Errorf("position %q, error %v after the end", p, err)
	}
}

// Positions of several inputs share a file, and a damaged file is an error, not
// an obstacle.
func TestCheckpointFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoints.json")
	f := agent.NewCheckpointFile(path)
	for input, p := range map[string]agent.Position{"a": "1", "b": `{"file":"x"}`} {
		testenv.Check(t, f.Save(input, p))
	}
	testenv.Check(t, f.Save("a", "2"))
	again := agent.NewCheckpointFile(path)
	for input, want := range map[string]agent.Position{"a": "2", "b": `{"file":"x"}`, "c": ""} {
		if p, err := again.Load(input); p != want || err != nil {
			t.Errorf("%s: position %q, error %v, want %q", input, p, err, want)
		}
	}
	for _, content := range []string{"", "{", `{"version":2}`} {
		testenv.Check(t, os.WriteFile(path, []byte(content), 0o600))
		damaged := agent.NewCheckpointFile(path)
		if p, err := damaged.Load("a"); p != "" || err == nil {
			t.Errorf("%q: position %q, error %v", content, p, err)
		}
		testenv.Check(t, damaged.Save("a", "3"))
		if p, err := agent.NewCheckpointFile(path).Load("a"); p != "3" || err != nil {
			t.Errorf("after %q: position %q, error %v", content, p, err)
		}
	}
}

// A replay continues at the position of any event, in any loop, and starts at the
// beginning of another file.
func TestReplayPositions(t *testing.T) {
	path := file(t, "x.ndjson.gz", "{\"event_id\":\"a\"}\n{\"event_id\":\"b\"}\n{\"n\":3}\n")
	r := &agent.ReplaySource{ReadFile: scan.ReadFile, Path: path, Loops: 3}
	var all []agent.Event
	for e, err := range r.Events(t.Context(), "") {
		testenv.Check(t, err)
		all = append(all, e)
	}
	if len(all) != 9 {
		t.Fatalf("%d events, want 9", len(all))
	}
	for i := range all {
		var rest []agent.Event
		for e, err := range r.Events(t.Context(), all[i].Position) {
			testenv.Check(t, err)
			rest = append(rest, e)
		}
		if diff := cmp.Diff(append([]agent.Event(nil), all[i+1:]...), rest); diff != "" {
			t.Errorf("after event %d (-want +got):\n%s", i, diff)
		}
	}
	other := &agent.ReplaySource{ReadFile: scan.ReadFile, Path: file(t, "y.ndjson", "{\"event_id\":\"c\"}\n")}
	for _, from := range []agent.Position{all[0].Position, "damaged", `{"file":1}`} {
		n := 0
		for _, err := range other.Events(t.Context(), from) {
			testenv.Check(t, err)
			n++
		}
		if n != 1 {
			t.Errorf("%d events of another file from %q", n, from)
		}
	}
	for _, err := range (&agent.ReplaySource{ReadFile: scan.ReadFile, Path: "no-such-file"}).Events(t.Context(), all[0].Position) {
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("error %v", err)
		}
	}
}
