package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/servertest"
	"github.com/picket-edr/picket/internal/testenv"
)

// post posts one event and processes it.
func post(t *testing.T, r *servertest.Server, caller, event string) {
	t.Helper()
	if w := r.Do(caller, "POST", "/api/v1/telemetry/", strings.NewReader(event)); w.Code != http.StatusCreated {
		t.Fatalf("%s: %d %s", caller, w.Code, w.Body)
	}
	r.ProcessQueue(t)
}

type eventList struct {
	Events []struct {
		EventID   string `json:"event_id"`
		AgentID   string `json:"agent_id"`
		Sender    string `json:"sender"`
		Namespace string `json:"namespace"`
	}
	More bool
}

// An agent and a collector that post the id of an agent's event before it does cannot
// take away the event or its alert.
func TestEventsOfOtherSendersStay(t *testing.T) {
	r := servertest.New(t, servertest.Options{})
	tok, secret, err := auth.NewToken(auth.KindAgent, "PC2", "", servertest.Now)
	testenv.Check(t, err)
	testenv.Check(t, r.Store.AddToken(t.Context(), tok))
	r.Credentials["attacker"] = [2]string{"Authorization", "Token " + secret}

	harmless := servertest.Event("e1", 0, `C:\Windows\notepad.exe`)
	post(t, r, "attacker", strings.Replace(harmless, "PC1", "PC2", 1))
	post(t, r, "collector", harmless)
	post(t, r, "agent", servertest.Event("e1", 0, `C:\Windows\whoami.exe`))
	if alerts := r.Alerts(t); len(alerts) != 1 || alerts[0].AgentID != "PC1" {
		t.Errorf("alerts are %+v, want one on PC1", alerts)
	}
	post(t, r, "agent", servertest.Event("e1", 0, `C:\Windows\whoami.exe`)) // a retry
	var flow struct {
		Flow struct{ Stored, Duplicate, Conflicting int }
	}
	totals, err := r.Store.Totals(t.Context())
	testenv.Check(t, err)
	if totals.Stored != 3 || totals.Duplicate != 1 || totals.Conflicting != 0 {
		t.Errorf("totals are %+v", totals)
	}
	post(t, r, "agent", harmless) // the same id, other bytes
	r.Get(t, "viewer", "/api/v1/stats", &flow)
	if f := flow.Flow; f.Stored != 3 || f.Duplicate != 2 || f.Conflicting != 1 {
		t.Errorf("flow is %+v", f)
	}

	// The id alone names three events.
	w := r.Do("viewer", "GET", "/api/v1/events/e1", nil)
	var list eventList
	if err := json.Unmarshal(w.Body.Bytes(), &list); w.Code != http.StatusMultipleChoices || err != nil || len(list.Events) != 3 || list.More {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := r.Do("viewer", "GET", "/api/v1/events/e1/raw", nil); w.Code != http.StatusMultipleChoices {
		t.Errorf("raw: %d", w.Code)
	}
	if w := r.Do("viewer", "GET", "/api/v1/events/e1?agent_id=PC1", nil); w.Code != http.StatusMultipleChoices || strings.Contains(w.Body.String(), "PC2") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for query, sender := range map[string]string{
		"agent_id=PC2": "agent:PC2", "sender=agent:PC1": "agent:PC1", "sender=collector:col": "collector:col",
		"namespace=" + list.Events[0].Namespace: list.Events[0].Sender, "namespace=" + list.Events[2].Namespace: list.Events[2].Sender,
	} {
		var ev struct{ Sender string }
		r.Get(t, "viewer", "/api/v1/events/e1?"+query, &ev)
		if ev.Sender != sender {
			t.Errorf("%s: sender %q, want %q", query, ev.Sender, sender)
		}
	}
	for _, query := range []string{"agent_id=PC3", "namespace=-", "index=x"} {
		if w := r.Do("viewer", "GET", "/api/v1/events/e1?"+query, nil); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", query, w.Code)
		}
	}
	var matches struct {
		Matches []struct {
			EventID   string `json:"event_id"`
			Namespace string
		}
	}
	r.Get(t, "viewer", "/api/v1/matches?event_id=e1", &matches)
	if len(matches.Matches) != 1 {
		t.Fatalf("matches are %+v", matches)
	}
	var ev struct{ Sender string }
	if r.Get(t, "viewer", "/api/v1/events/e1?namespace="+matches.Matches[0].Namespace, &ev); ev.Sender != "agent:PC1" {
		t.Errorf("the event of the match is of %q", ev.Sender)
	}

	checkConsoleLinks(t, r)
}

// checkConsoleLinks checks that each link to an event leads to one event, and that the
// page of an ambiguous id offers these links.
func checkConsoleLinks(t *testing.T, r *servertest.Server) {
	t.Helper()
	link := regexp.MustCompile(`href="(/console/events/e1\?namespace=[^"]+)"`)
	for page, want := range map[string]struct{ status, links int }{
		"/console/events": {200, 3}, "/console/events/e1": {300, 3}, "/console/events/e1?agent_id=PC2": {200, 0}, "/console/alerts/" + r.Alerts(t)[0].ID: {200, 1},
	} {
		w := r.Do("session", "GET", page, nil)
		links := link.FindAllStringSubmatch(w.Body.String(), -1)
		if w.Code != want.status || len(links) != want.links {
			t.Errorf("%s: %d, %d links, want %d, %d", page, w.Code, len(links), want.status, want.links)
		}
		seen := make(map[string]bool)
		for _, l := range links {
			if w := r.Do("session", "GET", l[1], nil); w.Code != 200 || !strings.Contains(w.Body.String(), "<dt>Sender</dt>") {
				t.Errorf("%s: %d", l[1], w.Code)
			}
			seen[l[1]] = true
		}
		if len(seen) != len(links) {
			t.Errorf("%s: links %v repeat", page, links)
		}
	}
}

// Documents with the same _id in two indices are both stored, in one request and in two;
// the same document again is a duplicate.
func TestSameIDInTwoIndices(t *testing.T) {
	r := servertest.New(t, servertest.Options{})
	pair := func(index string) string {
		return fmt.Sprintf("{\"create\":{\"_index\":%q,\"_id\":\"1\"}}\n{\"message\":\"in %s\",\"host\":\"h\"}\n", index, index)
	}
	for _, body := range []string{pair("a") + pair("b"), pair("c"), pair("a")} {
		w := r.Do("collector", "POST", "/_bulk", strings.NewReader(body))
		if w.Code != http.StatusOK || strings.Contains(w.Body.String(), `"errors":true`) {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		r.ProcessQueue(t)
	}
	totals, err := r.Store.Totals(t.Context())
	testenv.Check(t, err)
	if totals.Stored != 3 || totals.Duplicate != 1 || totals.Conflicting != 0 {
		t.Errorf("totals are %+v, want 3 stored and a duplicate", totals)
	}
	var ev struct {
		Index string
		Event struct{ Message string }
	}
	if r.Get(t, "viewer", "/api/v1/events/1?index=b", &ev); ev.Index != "b" || ev.Event.Message != "in b" {
		t.Errorf("event is %+v", ev)
	}
	// Elasticsearch's index names are short, and they are stored with each event.
	w := r.Do("collector", "POST", "/_bulk", strings.NewReader(pair(strings.Repeat("x", 600))))
	if !strings.Contains(w.Body.String(), `"errors":true`) {
		t.Errorf("a long index name: %d %s", w.Code, w.Body)
	}
}

// Legacy agents share a collector's token. A retry of the same agent and id is a
// success, and stored once; the same id of another agent is another event.
func TestLegacyRetry(t *testing.T) {
	r := servertest.New(t, servertest.Options{})
	event := servertest.Event("1", 0, "x")
	other := strings.Replace(event, `"agent_id":"PC1"`, `"agent_id":"PC2"`, 1)
	for _, ev := range []string{event, event, other} {
		post(t, r, "collector", ev)
	}
	totals, err := r.Store.Totals(t.Context())
	testenv.Check(t, err)
	if totals.Stored != 2 || totals.Duplicate != 1 || totals.Conflicting != 0 {
		t.Errorf("totals are %+v, want 2 stored and a duplicate", totals)
	}
}
