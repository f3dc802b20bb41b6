package ingest_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/testenv"
)

// Events of every format keep their identity.
func TestIdentityByFormat(t *testing.T) {
	files, err := filepath.Glob("../normalize/testdata/*.json")
	testenv.Check(t, err)
	if len(files) < 20 {
		t.Fatal("the cases of the formats are missing")
	}
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	for _, file := range files {
		raw, err := os.ReadFile(file)
		testenv.Check(t, err)
		golden, err := os.ReadFile(strings.TrimSuffix(file, ".json") + ".golden")
		testenv.Check(t, err)
		expected := make(map[string]string)
		for line := range strings.Lines(string(golden)) {
			for _, name := range []string{"type ", "os ", "id ", "agent ", "host ", "declared type "} {
				if rest, ok := strings.CutPrefix(strings.TrimSpace(line), name); ok && expected[name] == "" {
					expected[name] = strings.Trim(strings.TrimSpace(rest), `"`)
				}
			}
		}
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		w := r.post(r.collector, string(raw))
		events := r.takeAll(t)
		if w.Code != http.StatusCreated || len(events) != 1 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
			continue
		}
		ev := events[0]
		if id := expected["id "]; id != "" && ev.ID != id || ev.ID == "" {
			t.Errorf("%s: id %q, want %q", name, ev.ID, id)
		}
		agent, host, typ := expected["agent "], expected["host "], expected["type "]
		if declared := expected["declared type "]; declared != "" {
			typ = declared
		}
		if agent == "" {
			agent = host
		}
		if host == "" {
			host = agent
		}
		if ev.AgentID != agent || ev.Host != host || ev.Type != typ || ev.OS != expected["os "] {
			t.Errorf("%s: agent %q host %q type %q os %q, want %q %q %q %q", name, ev.AgentID, ev.Host, ev.Type, ev.OS, agent, host, typ, expected["os "])
		}
		if diff := cmp.Diff(strings.TrimSpace(string(raw)), string(ev.Raw)); diff != "" {
			t.Errorf("%s: the event is not as received: %s", name, diff)
		}
		// A retry has the same id, and one that is declared is honoured.
		r.post(r.collector, string(raw))
		if again := r.takeAll(t); len(again) != 1 || again[0].ID != ev.ID {
			t.Errorf("%s: a retry has another id: %v", name, again)
		}
		declared := strings.TrimSuffix(strings.TrimSpace(agentMember.ReplaceAllString(string(raw), "")), "}") + `,"event_id":"declared","agent_id":"me"}`
		r.post(r.collector, declared)
		if got := r.takeAll(t); len(got) != 1 || got[0].ID != "declared" || got[0].AgentID != "me" {
			t.Errorf("%s: declared identity is lost: %v", name, got)
		}
	}
}
