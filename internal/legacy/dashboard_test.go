package legacy_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/internal/servertest"
	"github.com/picket-edr/picket/internal/testenv"
)

func TestMain(m *testing.M) {
	time.Local = time.FixedZone("", 2*3600) // the golden files have local times
	os.Exit(m.Run())
}

var update = flag.Bool("update", false, "rewrite the golden files")

// The responses of the legacy dashboard's API equal the legacy system's byte for
// byte.
func TestDashboard(t *testing.T) {
	r := servertest.New(t, servertest.Options{})
	r.PostAndProcess(t, servertest.Event("e0", 0, `C:\Windows\notepad.exe`), servertest.Event("e1", 60, `C:\Windows\whoami.exe`))
	r.PostAndProcess(t, servertest.Event("e2", 120, `C:\Windows\whoami.exe`), servertest.Event("late", 7200, "x"))
	id := r.Alerts(t)[0].ID
	var got strings.Builder
	step := func(method, path, body string) {
		w := r.Do("analyst", method, strings.ReplaceAll(path, "ID", id), strings.NewReader(strings.ReplaceAll(body, "ID", id)))
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

	const golden = "testdata/dashboard.golden"
	if *update {
		testenv.Check(t, os.WriteFile(golden, []byte(got.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	testenv.Check(t, err)
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Unauthorized requests get the legacy responses.
func TestDashboardUnauthorized(t *testing.T) {
	r := servertest.New(t, servertest.Options{})
	r.SaveAlerts(t, 1)
	status := "/api/v1/dashboard/alerts/" + r.Alerts(t)[0].ID + "/status/"
	for _, c := range []struct {
		who, method, path string
		status            int
		want              string
	}{
		{"anonymous", "GET", "/api/v1/dashboard/stats/", 403, `{"detail":"Authentication credentials were not provided."}`},
		{"wrong", "GET", "/api/v1/dashboard/stats/", 403, `{"detail":"Invalid token."}`},
		{"agent", "GET", "/api/v1/dashboard/stats/", 403, `{"detail":"You do not have permission to perform this action."}`},
		{"collector", "GET", "/api/v1/dashboard/stats/", 403, `{"detail":"You do not have permission to perform this action."}`},
		{"viewer", "POST", status, 302, ``},
		{"session", "POST", status, 302, ``},
		{"agent", "POST", status, 403, `{"detail":"You do not have permission to perform this action."}`},
		{"anonymous", "GET", "/api/v1/health/", 200, `{"status":"ok"}`},
	} {
		w := r.Do(c.who, c.method, c.path, strings.NewReader(`{"status":"RESOLVED"}`))
		if w.Code != c.status || w.Body.String() != c.want || c.status == 302 && w.Header().Get("Location") != "/dashboard/" {
			t.Errorf("%s %s %s: %d %s %v", c.who, c.method, c.path, w.Code, w.Body, w.Header())
		}
	}
}
