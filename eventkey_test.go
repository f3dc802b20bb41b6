package picket_test

import (
	"testing"

	"github.com/picket-edr/picket"
)

// Every part of an event's identity changes its key, and no two parts can be confused.
func TestEventKey(t *testing.T) {
	seen := make(map[string]picket.Event)
	for _, e := range []picket.Event{
		{ID: "a"},
		{ID: "a", Sender: "agent:b", AgentID: "b"},
		{ID: "a", Sender: "collector:b", AgentID: "b"},
		{ID: "a", Sender: "collector:b", AgentID: "c"},
		{ID: "a", Sender: "collector:b", AgentID: "b", Index: "c"},
		{ID: "a", Sender: "collector:b", AgentID: "bc"},
		{ID: "a", Sender: "collector:bb", AgentID: "c"},
		{ID: "b", Sender: "collector:b", AgentID: "b"},
	} {
		key := e.Key()
		if other, ok := seen[key]; ok {
			t.Errorf("%+v and %+v have the same key", e, other)
		}
		seen[key] = e
		after, before := picket.EventKeyRange(e.ID)
		if inRange := after < key && key < before; inRange != (e.Sender != "") {
			t.Errorf("key %q of %+v is between %q and %q: %t", key, e, after, before, inRange)
		}
	}
}

// Stores hold namespaces and keys.
func TestGoldenEventKey(t *testing.T) {
	e := picket.Event{ID: "a", Sender: "collector:c", Index: "0", AgentID: "agent"}
	if got, want := e.Namespace(), "1d42n8bd7v3T0duX"; got != want {
		t.Errorf("namespace %q, want %q", got, want)
	}
	if got, want := e.Key(), "a\x1f1d42n8bd7v3T0duX"; got != want {
		t.Errorf("key %q, want %q", got, want)
	}
	e.Sender = ""
	if e.Namespace() != "" || e.Key() != "a" {
		t.Errorf("an event without sender has key %q", e.Key())
	}
}
