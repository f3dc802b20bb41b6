package triage_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/servertest"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/internal/triage"
)

// A decision is an update of an alert.
type decision struct{ status, assignee, note string }

// send sends a decision on an alert to an interface and returns the status of the
// response.
func send(t *testing.T, s *servertest.Server, through, id string, d decision) int {
	t.Helper()
	var req *http.Request
	body := func(v any) *strings.Reader {
		b, err := json.Marshal(v)
		testenv.Check(t, err)
		return strings.NewReader(string(b))
	}
	switch through {
	case "console":
		form := url.Values{"status": {d.status}, "note": {d.note}, "assignee": {d.assignee}}
		req = httptest.NewRequest("POST", "/console/alerts/"+id, strings.NewReader(form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Cookie", auth.SessionCookieName+"="+s.SignIn(t, "bob", auth.RoleAnalyst))
	case "api":
		req = httptest.NewRequest("PATCH", "/api/v1/alerts/"+id, body(map[string]string{"status": d.status, "note": d.note, "assignee": d.assignee}))
		req.Header.Set(s.Credentials["analyst"][0], s.Credentials["analyst"][1])
	case "legacy":
		req = httptest.NewRequest("POST", "/api/v1/alerts/bulk/", body(map[string]any{"alert_ids": []string{id}, "action": "assign", "assignee": d.assignee, "note": d.note}))
		req.Header.Set(s.Credentials["analyst"][0], s.Credentials["analyst"][1])
	}
	w := httptest.NewRecorder()
	s.Mux.ServeHTTP(w, req)
	return w.Code
}

// The console, the API and the legacy API have the same limits, and write the same
// audit entry.
func TestAllInterfacesAgree(t *testing.T) {
	s := servertest.New(t, servertest.Options{})
	s.SaveAlerts(t, 3)
	alerts := s.Alerts(t)
	testenv.Check(t, s.Store.PutUser(t.Context(), store.User{Name: "carol", Role: "analyst"}))
	testenv.Check(t, s.Store.PutUser(t.Context(), store.User{Name: "gone", Role: "analyst", Disabled: true}))
	for _, through := range []string{"console", "api"} {
		for _, nobody := range []string{"nobody", "gone"} {
			if status := send(t, s, through, alerts[0].ID, decision{"investigating", nobody, "n"}); status != http.StatusConflict {
				t.Errorf("%s: assigned to %s: %d", through, nobody, status)
			}
		}
	}
	var details []string
	for i, through := range []string{"console", "api", "legacy"} {
		id := alerts[i].ID
		for _, bad := range []decision{
			{"investigating", "carol", strings.Repeat("x", triage.MaxNoteChars+1)},
			{"investigating", strings.Repeat("x", triage.MaxAssigneeChars+1), "n"},
		} {
			if status := send(t, s, through, id, bad); status != http.StatusBadRequest {
				t.Errorf("%s: past a bound: %d", through, status)
			}
		}
		if status := send(t, s, through, id, decision{"investigating", "carol", "looking"}); status >= 400 {
			t.Errorf("%s: %d", through, status)
		}
		log, err := s.Store.AuditEntries(t.Context(), store.AuditQuery{Limit: 1})
		testenv.Check(t, err)
		if len(log) != 1 || log[0].Action != "alert.update" || log[0].Object != id {
			t.Fatalf("%s: audit log %+v", through, log)
		}
		details = append(details, log[0].Detail)
	}
	want := "status=investigating assignee=carol note"
	if diff := cmp.Diff([]string{want, want, want}, details); diff != "" {
		t.Errorf("audit details (-want +got)\n%s", diff)
	}
}

// Every route of the legacy dashboard that takes a note or an assignee refuses long
// ones and stores nothing of them.
func TestLegacyRoutesRefuseLongTexts(t *testing.T) {
	s := servertest.New(t, servertest.Options{})
	s.SaveAlerts(t, 1)
	id := s.Alerts(t)[0].ID
	note := strings.Repeat("x", triage.MaxNoteChars+1)
	assignee := strings.Repeat("x", triage.MaxAssigneeChars+1)
	type request struct {
		path string
		body map[string]any
	}
	var requests []request
	for _, base := range []string{"/api/v1/alerts/", "/api/v1/dashboard/alerts/"} {
		requests = append(requests,
			request{base + id + "/status/", map[string]any{"status": "resolved", "note": note}},
			request{base + id + "/assign/", map[string]any{"analyst_email": assignee}},
			request{base + id + "/note/", map[string]any{"note": note}})
	}
	for _, action := range []string{"resolve", "false_positive", "assign"} {
		requests = append(requests,
			request{"/api/v1/alerts/bulk/", map[string]any{"alert_ids": []string{id}, "action": action, "assignee": "carol", "note": note}})
	}
	for _, req := range requests {
		body, err := json.Marshal(req.body)
		testenv.Check(t, err)
		r := httptest.NewRequest("POST", req.path, strings.NewReader(string(body)))
		r.Header.Set(s.Credentials["analyst"][0], s.Credentials["analyst"][1])
		w := httptest.NewRecorder()
		s.Mux.ServeHTTP(w, r)
		if w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %.200s", req.path, w.Code, w.Body)
		}
	}
	a, err := s.Store.Alert(t.Context(), id)
	testenv.Check(t, err)
	if len(a.Notes) != 0 || a.Assignee != "" || a.Status != picket.StatusOpen {
		t.Errorf("the alert has changed: %+v", a)
	}
}
