package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/servertest"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/internal/triage"
)

type alertPage struct {
	Alerts []picket.Alert
	Next   *string
}

func TestAlerts(t *testing.T) {
	r := servertest.New(t, servertest.Options{})
	r.SaveAlerts(t, 5)
	list := func(query string) string {
		t.Helper()
		var p alertPage
		r.Get(t, "viewer", "/api/v1/alerts?"+query, &p)
		var agents []string
		for _, a := range p.Alerts {
			agents = append(agents, a.AgentID)
		}
		return strings.Join(agents, " ")
	}
	for query, want := range map[string]string{
		"": "A4 A3 A2 A1 A0", "limit=2": "A4 A3", "level=low": "A4 A3 A2 A1 A0", "level=high": "", "level=high,low": "A4 A3 A2 A1 A0",
		"status=open": "A4 A3 A2 A1 A0", "status=resolved,false_positive": "", "rule_id=r": "A4 A3 A2 A1 A0", "rule_id=x": "",
		"agent_id=A2": "A2", "host=h3": "A3", "text=h1": "A1", "since=2026-01-02T03:02:00Z": "A4 A3",
		"until=2026-01-02T03:02:00Z&limit=2": "A2 A1", "since=1767322920&until=1767322980": "A3",
	} {
		if got := list(query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	var seen []string
	for cursor := ""; ; {
		var p alertPage
		r.Get(t, "viewer", "/api/v1/alerts?limit=2&cursor="+url.QueryEscape(cursor), &p)
		for _, a := range p.Alerts {
			seen = append(seen, a.AgentID)
		}
		if p.Next == nil {
			break
		}
		cursor = *p.Next
	}
	if got := strings.Join(seen, " "); got != "A4 A3 A2 A1 A0" {
		t.Errorf("page by page: %s", got)
	}
	for _, query := range []string{"limit=0", "limit=1001", "limit=x", "status=new", "level=severe", "since=yesterday", "until=-1", "cursor=made-up",
		"limit=", "limit=007", "limit=%2B5", "limit=1&limit=2", "status=", "status=open,", "since=", "since=2026-02-30T00:00:00Z", "since=0x10", "since=1e11",
		"statu=open", "text=%FF", "text=%zz"} {
		if w := r.Do("viewer", "GET", "/api/v1/alerts?"+query, nil); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), `{"error":"`) {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
	for _, query := range []string{"cursor=", "since=2026-01-02t15:04:05.5z&until=2027-01-02T23:59:60%2B00:00", "since=1e9&until=4102444800.25", "status=open,resolved&level=low,high", "text="} {
		if w := r.Do("viewer", "GET", "/api/v1/alerts?"+query, nil); w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
	if w := r.Do("viewer", "GET", "/api/v1/stats?limit=1", nil); w.Code != http.StatusBadRequest {
		t.Errorf("a parameter of a path that takes none: %d %s", w.Code, w.Body)
	}
	if w := r.Do("viewer", "GET", "/api/v1/alerts?text=nothing", nil); w.Body.String() != `{"alerts":[],"next":null}` {
		t.Errorf("none: %s", w.Body)
	}
	if w := r.Do("viewer", "GET", "/api/v1/alerts/none", nil); w.Code != http.StatusNotFound {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Several alerts are changed alike. One that cannot be does not stop the others.
func TestTriageSeveral(t *testing.T) {
	r := servertest.New(t, servertest.Options{})
	r.SaveAlerts(t, 3)
	var ids []string
	for _, a := range r.Alerts(t) {
		ids = append(ids, a.ID)
	}
	patch := func(who, body string) (int, string) {
		w := r.Do(who, "PATCH", "/api/v1/alerts", strings.NewReader(body))
		return w.Code, w.Body.String()
	}
	quoted := fmt.Sprintf(`%q,%q`, ids[0], ids[1])
	if code, body := patch("analyst", `{"ids":[`+quoted+`,"none",`+quoted+`],"status":"resolved","assignee":"ann","note":"noise"}`); code != 200 ||
		body != `{"failed":[{"id":"none","error":"update alert none: not found"}],"updated":2}` {
		t.Errorf("%d %s", code, body)
	}
	for i, a := range r.Alerts(t) {
		if changed := i < 2; changed != (a.Status == picket.StatusResolved && a.Assignee == "ann" && len(a.Notes) == 3) {
			t.Errorf("alert %d: %+v", i, a)
		}
	}
	log, err := r.Store.AuditEntries(t.Context(), store.AuditQuery{Limit: 10})
	testenv.Check(t, err)
	if len(log) != 2 || log[0].Object != ids[1] || log[1].Object != ids[0] || log[0].Detail != "status=resolved assignee=ann note" {
		t.Errorf("audit: %+v", log)
	}
	many := strings.Repeat(`"x",`, triage.MaxAlertsPerUpdate) + `"x"`
	for body, want := range map[string]int{
		`{}`: 400, `{"ids":[],"note":"x"}`: 400, `{"ids":["x"]}`: 400, `{"ids":[null],"note":"x"}`: 400, `{"ids":["x"],"status":"new"}`: 400, `{"ids":["x"],"note":"x","all":true}`: 400,
		`{"ids":[` + many + `],"note":"x"}`: 400, `{"ids":["x"],"assignee":"unknown"}`: 409,
	} {
		if code, answer := patch("analyst", body); code != want {
			t.Errorf("%.50s: %d %s", body, code, answer)
		}
	}
	if code, body := patch("viewer", `{"ids":["x"],"note":"x"}`); code != 403 || body != `{"error":"this needs the role analyst, and api:viewer-token has the role viewer"}` {
		t.Errorf("%d %s", code, body)
	}
	var page struct{ Alerts []picket.Alert }
	for query, want := range map[string]int{"assignee=ann": 2, "assignee=": 1, "assignee=bob": 0, "since=2026-01-01": 3, "until=2026-01-01": 0, "since=90s": 1} {
		if r.Get(t, "viewer", "/api/v1/alerts?"+query, &page); len(page.Alerts) != want {
			t.Errorf("%s: %d alerts", query, len(page.Alerts))
		}
	}
}

func TestTriage(t *testing.T) {
	r := servertest.New(t, servertest.Options{})
	r.SaveAlerts(t, 1)
	path := "/api/v1/alerts/" + r.Alerts(t)[0].ID
	patch := func(body string) (int, string) {
		w := r.Do("analyst", "PATCH", path, strings.NewReader(body))
		return w.Code, w.Body.String()
	}
	if code, body := patch(`{"status":"investigating","assignee":"ann","note":"<look>"}`); code != 200 || !strings.Contains(body, `"status":"investigating","assignee":"ann"`) || !strings.Contains(body, "<look>") {
		t.Errorf("%d %s", code, body)
	}
	var a picket.Alert
	r.Get(t, "viewer", path, &a)
	if len(a.Notes) == 0 || a.Notes[0].Author != "api:analyst-token" || !a.Notes[0].Time.Equal(servertest.Now) || a.Status != picket.StatusInvestigating || a.Assignee != "ann" {
		t.Errorf("%+v", a)
	}
	if code, _ := patch(`{"assignee":""}`); code != 200 {
		t.Errorf("unassign: %d", code)
	}
	for _, bad := range []string{``, `{`, `{}`, `[]`, `{"status":"new"}`, `{"status":5}`, `{"note":""}`, `{"note":"` + strings.Repeat("x", 10_001) + `"}`, `{"assignee":"` + strings.Repeat("x", 257) + `"}`} {
		if code, body := patch(bad); code != 400 {
			t.Errorf("%.30s: %d %s", bad, code, body)
		}
	}
	if w := r.Do("analyst", "PATCH", "/api/v1/alerts/none", strings.NewReader(`{"note":"x"}`)); w.Code != 404 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	log, err := r.Store.AuditEntries(t.Context(), store.AuditQuery{Limit: 10})
	testenv.Check(t, err)
	if len(log) != 2 || log[1].Actor != "api:analyst-token" || log[1].Action != "alert.update" || log[1].Detail != "status=investigating assignee=ann note" {
		t.Errorf("audit: %+v", log)
	}
}

func TestEventsAndMatches(t *testing.T) {
	r := servertest.New(t, servertest.Options{})
	odd := strings.Replace(servertest.Event("odd/id", 1, `C:\Windows\notepad.exe`), `"severity"`, `"n": 1.50e3 , "severity"`, 1)
	r.PostAndProcess(t, servertest.Event("e1", 0, `C:\Windows\whoami.exe`), odd)
	r.PostAndProcess(t, servertest.Event("e2", 2, `C:\Windows\whoami.exe`))

	list := func(q string) string {
		t.Helper()
		var p struct {
			Events []struct {
				ID string `json:"event_id"`
			}
		}
		r.Get(t, "viewer", "/api/v1/events?q="+url.QueryEscape(q), &p)
		var ids []string
		for _, ev := range p.Events {
			ids = append(ids, ev.ID)
		}
		return strings.Join(ids, " ")
	}
	for q, want := range map[string]string{
		"": "e2 odd/id e1", "Image=*whoami.exe": "e2 e1", `Image~"notepad.exe$"`: "odd/id", "whoami and not e1": "e2", "agent_id=pc1": "e2 odd/id e1",
		`process.name="*notepad*"`: "odd/id", "nothing": "", "(e1 or e2) and host.os=windows": "e2 e1",
	} {
		if got := list(q); got != want {
			t.Errorf("%s: %q, want %q", q, got, want)
		}
	}
	for _, bad := range []string{"q=(", "q=a~[", "limit=0", "cursor=x", "since=x"} {
		if w := r.Do("viewer", "GET", "/api/v1/events?"+bad, nil); w.Code != 400 {
			t.Errorf("%s: %d %s", bad, w.Code, w.Body)
		}
	}
	// What was received stands in the answer byte for byte.
	w := r.Do("viewer", "GET", "/api/v1/events/odd%2Fid", nil)
	if w.Code != 200 || !strings.HasSuffix(w.Body.String(), `,"event":`+odd+`}`) || !strings.HasPrefix(w.Body.String(), `{"id":"odd/id","event_id":"odd/id","agent_id":"PC1","host":"PC1.corp","event_type":"process_creation"`) {
		if !strings.Contains(w.Body.String(), `"event_type":"process"`) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	if w := r.Do("viewer", "GET", "/api/v1/events/odd%2Fid/raw", nil); w.Body.String() != odd || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("raw: %s", w.Body)
	}
	if w := r.Do("viewer", "GET", "/api/v1/events/none", nil); w.Code != 404 {
		t.Errorf("%d", w.Code)
	}

	var alerts alertPage
	r.Get(t, "viewer", "/api/v1/alerts", &alerts)
	if len(alerts.Alerts) != 1 || alerts.Alerts[0].Count != 2 || alerts.Alerts[0].Level.String() != "critical" {
		t.Fatalf("%+v", alerts)
	}
	var matches struct{ Matches []picket.Match }
	for query, want := range map[string]int{
		"": 2, "alert_id=" + alerts.Alerts[0].ID: 2, "event_id=e1": 1, "rule_id=11111111-1111-1111-1111-111111111111": 2, "agent_id=PC1": 2, "agent_id=x": 0, "limit=1": 1, "since=2026-01-02T02:04:06Z": 1,
	} {
		r.Get(t, "viewer", "/api/v1/matches?"+query, &matches)
		if len(matches.Matches) != want {
			t.Errorf("%s: %d matches", query, len(matches.Matches))
		}
	}
	r.Get(t, "viewer", "/api/v1/matches?event_id=e1", &matches)
	if m := matches.Matches[0]; m.EventID != "e1" || m.EventNamespace == "" || m.ID != picket.MatchID(m.RuleID, m.EventKey()) || len(m.Why) != 1 || m.Why[0].Field != "Image" || m.AlertID != alerts.Alerts[0].ID {
		t.Errorf("%+v", m)
	}
	var hosts struct {
		Hosts []struct {
			Name    string
			AgentID string `json:"agent_id"`
			Events  int
		}
	}
	r.Get(t, "viewer", "/api/v1/hosts", &hosts)
	if len(hosts.Hosts) != 1 || hosts.Hosts[0].Name != "PC1.corp" || hosts.Hosts[0].Events != 3 {
		t.Errorf("%+v", hosts)
	}
}

// The counts of events add up at every stage.
func TestEventOutcomes(t *testing.T) {
	r := servertest.New(t, servertest.Options{})
	type flow struct{ Received, Stored, Duplicate, Rejected, Dead, Waiting int64 }
	is := func(want flow) {
		t.Helper()
		var s struct{ Flow flow }
		r.Get(t, "viewer", "/api/v1/stats", &s)
		if diff := cmp.Diff(want, s.Flow); diff != "" {
			t.Error(diff)
		}
		if f := s.Flow; f.Received != f.Stored+f.Duplicate+f.Rejected+f.Dead+f.Waiting {
			t.Errorf("does not add up: %+v", f)
		}
	}
	is(flow{})
	post := func(events ...string) {
		r.Do("agent", "POST", "/api/v1/telemetry/", strings.NewReader("["+strings.Join(events, ",")+"]"))
	}
	post(servertest.Event("a", 0, "x"), servertest.Event("b", 0, "x"), `{"event_type":"process"}`)
	is(flow{Received: 3, Rejected: 1, Waiting: 2})
	r.ProcessQueue(t)
	is(flow{Received: 3, Rejected: 1, Stored: 2})
	post(servertest.Event("a", 0, "x"), servertest.Event("c", 0, "x"))
	r.ProcessQueue(t)
	is(flow{Received: 5, Rejected: 1, Stored: 3, Duplicate: 1})

	var dead struct {
		Dead []struct {
			ID          int64
			Cause, Kind string
		}
		Next *string
	}
	post(`{}`, `{}`)
	r.Get(t, "viewer", "/api/v1/queue/dead?limit=2", &dead)
	if len(dead.Dead) != 2 || dead.Next == nil || dead.Dead[0].Kind != "rejected" || dead.Dead[0].Cause == "" {
		t.Fatalf("%+v", dead)
	}
	second := dead.Dead[1].ID
	r.Get(t, "viewer", "/api/v1/queue/dead?limit=2&cursor="+*dead.Next, &dead)
	if len(dead.Dead) != 1 || dead.Next != nil {
		t.Fatalf("%+v", dead)
	}
	for body, code := range map[string]int{``: 400, `{}`: 400, `{"ids":[]}`: 400, `{"ids":[1],"all":true}`: 400, `{"ids":["x"]}`: 400,
		`{"ids":[null]}`: 400, `{"ids":[0]}`: 400, `{"ids":[1.5]}`: 400, `{"ids":[1e18]}`: 400, `{"ids":[999999999999999999.0]}`: 400, `{"ids":null}`: 400, `{"Ids":[1]}`: 400, `{"all":false}`: 400,
		`{"all":true,"kind":"rejected"}`: 400, `{"ids":[1` + strings.Repeat(",1", 1000) + `]}`: 400, `{"ids":[1000000,2e6]}`: 200} {
		if w := r.Do("admin", "POST", "/api/v1/queue/dead/requeue", strings.NewReader(body)); w.Code != code {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	is(flow{Received: 7, Rejected: 3, Stored: 3, Duplicate: 1})
	if w := r.Do("admin", "POST", "/api/v1/queue/dead/requeue", strings.NewReader(fmt.Sprintf(`{"ids":[%d]}`, second))); w.Body.String() != `{"count":1}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	is(flow{Received: 8, Rejected: 3, Stored: 3, Duplicate: 1, Waiting: 1})
	r.ProcessQueue(t)
	if w := r.Do("admin", "POST", "/api/v1/queue/dead/purge", strings.NewReader(`{"all":true}`)); w.Body.String() != `{"count":2}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	is(flow{Received: 8, Rejected: 3, Stored: 4, Duplicate: 1})
	var st struct{ Pending, Leased, Dead int64 }
	r.Get(t, "viewer", "/api/v1/queue", &st)
	if st.Pending+st.Leased+st.Dead != 0 {
		t.Errorf("%+v", st)
	}
	for _, bad := range []string{"limit=0", "cursor=x", "cursor=-1"} {
		if w := r.Do("viewer", "GET", "/api/v1/queue/dead?"+bad, nil); w.Code != 400 {
			t.Errorf("%s: %d", bad, w.Code)
		}
	}
}
