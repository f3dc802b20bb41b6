package api_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/servertest"
)

// Every registered route admits exactly the callers that it is for. A route that is
// registered and not named here must refuse those without a role.
func TestAuthorisation(t *testing.T) {
	r := servertest.New(t, servertest.Options{})
	rank := map[string]int{"viewer": 1, "session": 1, "analyst": 2, "admin": 3}
	open := map[string]bool{"GET /api/v1/health/{$}": true, "GET /api/v1/openapi.json": true,
		"/{$}": true, "GET /console": true, "GET /console/ui/{file}": true, "GET /accounts/login/{$}": true,
		"GET /console/sign-in": true, "POST /console/sign-in": true, "POST /console/sign-out": true,
		"GET /dashboard/{$}": true, "GET /dashboard/rules/{$}": true, "GET /dashboard/events/{$}": true, // redirects to the console
		"GET /dashboard/alerts/{$}": true, "GET /dashboard/alerts/{id}/{$}": true,
		"POST /api/v1/osquery/log": true, "POST /api/v1/osquery/enroll": true} // the last two respond in their own format
	need := map[string]int{
		"PATCH /api/v1/alerts/{id}": 2, "PATCH /api/v1/alerts": 2, "POST /api/v1/queue/dead/requeue": 3, "POST /api/v1/queue/dead/purge": 3, "GET /api/v1/audit": 3, "GET /console/audit": 3,
	}
	wildcard := regexp.MustCompile(`\{[a-z]+\}`)
	n := 0
	for _, pattern := range r.Mux.Patterns() {
		method, path, ok := strings.Cut(pattern, " ")
		if !ok {
			method, path = "GET", pattern
		}
		if open[pattern] {
			continue
		}
		path = wildcard.ReplaceAllString(strings.TrimSuffix(path, "{$}"), "none")
		telemetry := strings.Contains(path, "telemetry") || strings.Contains(path, "_bulk") || strings.Contains(path, "commands") || path == "/api/v1/token"
		least := need[pattern]
		if least == 0 {
			least = 1
			if method == "POST" {
				least = 2
			}
		}
		n++
		for who := range r.Credentials {
			w := r.Do(who, method, path, strings.NewReader(`{}`))
			refused := w.Code == http.StatusUnauthorized || w.Code == http.StatusForbidden || w.Code == http.StatusFound ||
				strings.HasPrefix(w.Header().Get("Location"), "/console/sign-in")
			may := rank[who] >= least
			if strings.HasPrefix(path, "/console") {
				may = who == "session" && least == 1
			}
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
	if n < 45 {
		t.Errorf("%d routes", n)
	}
}
