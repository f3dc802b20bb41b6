package api_test

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/internal/testenv"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The dashboard of the replaced system, byte for byte.
func TestLegacy(t *testing.T) {
	r := newRig(t)
	r.ingest(t, raw("e0", 0, `C:\Windows\notepad.exe`), raw("e1", 60, `C:\Windows\whoami.exe`))
	r.ingest(t, raw("e2", 120, `C:\Windows\whoami.exe`), raw("late", 7200, "x"))
	id := r.alerts(t)[0].ID
	var got strings.Builder
	step := func(method, path, body string) {
		w := r.do("analyst", method, strings.ReplaceAll(path, "ID", id), strings.NewReader(strings.ReplaceAll(body, "ID", id)))
		fmt.Fprintf(&got, "%s %s %s\n%d %s\n", method, path, body, w.Code, strings.ReplaceAll(w.Body.String(), id, "ID"))
		if to := w.Header().Get("Location"); to != "" {
			fmt.Fprintf(&got, "Location: %s\n", to)
		}
		got.WriteByte('\n')
	}
	step("GET", "/api/v1/health/", "")
	step("GET", "/api/v1/dashboard/stats/", "")
	step("GET", "/api/v1/dashboard/stats", "")
	step("GET", "/api/v1/dashboard/alerts/", "")
	step("GET", "/api/v1/dashboard/alerts/?status=RESOLVED", "")
	step("GET", "/api/v1/dashboard/alerts/?severity=LOW", "")
	step("GET", "/api/v1/dashboard/alerts/?severity=NONE", "")
	step("GET", "/api/v1/dashboard/alerts/?limit=x", "")
	step("GET", "/api/v1/dashboard/alerts/ID/", "")
	step("GET", "/api/v1/dashboard/alerts/none/", "")
	step("GET", "/api/v1/dashboard/alerts/ID/timeline/", "")
	step("GET", "/api/v1/alerts/none/timeline/", "")
	step("GET", "/api/v1/search/?q=whoami", "")
	step("GET", "/api/v1/search/?q=pc", "")
	step("GET", "/api/v1/search/?q=p", "")
	step("GET", "/api/v1/dashboard/alerts/ID/status/", "")
	step("POST", "/api/v1/dashboard/alerts/none/status/", `{"status":"RESOLVED"}`)
	step("POST", "/api/v1/dashboard/alerts/ID/status/", `{"status":"OPEN"}`)
	step("POST", "/api/v1/dashboard/alerts/ID/status/", `{`)
	step("POST", "/api/v1/dashboard/alerts/ID/note/", `{"note":""}`)
	step("POST", "/api/v1/dashboard/alerts/ID/note/", `{"note":"é <b> \"x\" \u007f"}`)
	step("POST", "/api/v1/dashboard/alerts/ID/assign/", `{"analyst_email":"a@example.com"}`)
	step("POST", "/api/v1/alerts/ID/assign/", `{}`)
	step("POST", "/api/v1/alerts/ID/status/", `{"status":"FALSE_POSITIVE","note":"no"}`)
	step("POST", "/api/v1/alerts/bulk/", `{}`)
	step("POST", "/api/v1/alerts/bulk/", `{"alert_ids":["ID"],"action":"reopen"}`)
	step("POST", "/api/v1/alerts/bulk/", `{"alert_ids":["ID"],"action":"assign"}`)
	step("POST", "/api/v1/alerts/bulk/", `{"alert_ids":["none"],"action":"resolve"}`)
	step("POST", "/api/v1/alerts/bulk/", `{"alert_ids":["ID","none"],"action":"resolve","note":"done"}`)
	step("GET", "/api/v1/dashboard/alerts/ID/", "")
	step("POST", "/api/v1/dashboard/rules/none/toggle/", ``)
	step("POST", "/api/v1/dashboard/rules/11111111-1111-1111-1111-111111111111/toggle/", ``)
	step("GET", "/api/v1/dashboard/stats/", "")
	step("POST", "/api/v1/dashboard/rules/11111111-1111-1111-1111-111111111111/toggle/", ``)

	const golden = "testdata/legacy.golden"
	if *update {
		testenv.Check(t, os.WriteFile(golden, []byte(got.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	testenv.Check(t, err)
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Who may not is told as the replaced system did.
func TestLegacyRefusals(t *testing.T) {
	r := newRig(t)
	r.saveAlerts(t, 1)
	status := "/api/v1/dashboard/alerts/" + r.alerts(t)[0].ID + "/status/"
	for _, c := range []struct {
		who, method, path string
		status            int
		want              string
	}{
		{"nobody", "GET", "/api/v1/dashboard/stats/", 403, `{"detail":"Authentication credentials were not provided."}`},
		{"wrong", "GET", "/api/v1/dashboard/stats/", 403, `{"detail":"Invalid token."}`},
		{"agent", "GET", "/api/v1/dashboard/stats/", 403, `{"detail":"You do not have permission to perform this action."}`},
		{"collector", "GET", "/api/v1/dashboard/stats/", 403, `{"detail":"You do not have permission to perform this action."}`},
		{"viewer", "POST", status, 302, ``},
		{"session", "POST", status, 302, ``},
		{"agent", "POST", status, 403, `{"detail":"You do not have permission to perform this action."}`},
		{"nobody", "GET", "/api/v1/health/", 200, `{"status":"ok"}`},
	} {
		w := r.do(c.who, c.method, c.path, strings.NewReader(`{"status":"RESOLVED"}`))
		if w.Code != c.status || w.Body.String() != c.want || c.status == 302 && w.Header().Get("Location") != "/dashboard/" {
			t.Errorf("%s %s %s: %d %s %v", c.who, c.method, c.path, w.Code, w.Body, w.Header())
		}
	}
}

// Nobody gets at anything that is not for them: every route, every kind of
// caller.
func TestWhoMayDoWhat(t *testing.T) {
	r := newRig(t)
	rank := map[string]int{"viewer": 1, "session": 1, "analyst": 2, "admin": 3}
	open := map[string]bool{"GET /api/v1/health/{$}": true, "GET /api/v1/openapi.json": true,
		"POST /api/v1/osquery/log": true, "POST /api/v1/osquery/enroll": true} // the last two say so in their own way
	need := map[string]int{
		"PATCH /api/v1/alerts/{id}": 2, "POST /api/v1/queue/dead/requeue": 3, "POST /api/v1/queue/dead/purge": 3,
	}
	wildcard := regexp.MustCompile(`\{[a-z]+\}`)
	n := 0
	for _, pattern := range r.mux.Patterns() {
		method, path, ok := strings.Cut(pattern, " ")
		if !ok || open[pattern] {
			continue
		}
		path = wildcard.ReplaceAllString(strings.TrimSuffix(path, "{$}"), "none")
		telemetry := strings.Contains(path, "telemetry") || strings.Contains(path, "_bulk") || strings.Contains(path, "commands")
		least := need[pattern]
		if least == 0 {
			least = 1
			if method == "POST" {
				least = 2
			}
		}
		n++
		for who := range r.who {
			w := r.do(who, method, path, strings.NewReader(`{}`))
			refused := w.Code == http.StatusUnauthorized || w.Code == http.StatusForbidden || w.Code == http.StatusFound
			may := rank[who] >= least
			if telemetry {
				may = who == "agent" || who == "collector"
			}
			if may == refused {
				t.Errorf("%s as %s: %d %.100s", pattern, who, w.Code, w.Body)
			}
			if w.Code >= 500 {
				t.Errorf("%s as %s: %d", pattern, who, w.Code)
			}
		}
	}
	if n < 30 {
		t.Errorf("%d routes", n)
	}
}
