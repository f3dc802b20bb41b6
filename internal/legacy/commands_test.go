package legacy_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/servertest"
)

// Legacy agents poll for commands, each for itself only. There are none.
func TestCommands(t *testing.T) {
	s := servertest.New(t, servertest.Options{})
	const poll, result = "/api/v1/commands/poll/", "/api/v1/commands/result/c-1/"
	for _, c := range []struct {
		name, method, path, caller, agent string
		status                            int
		body                              string
	}{
		{"own commands", "GET", poll, "agent", "PC1", http.StatusNoContent, ""},
		{"a collector's agent", "GET", poll, "collector", "PC7", http.StatusNoContent, ""},
		{"no agent named", "GET", poll, "agent", "", http.StatusBadRequest, `{"error":"X-Agent-ID header required"}`},
		{"another agent's commands", "GET", poll, "agent", "PC2", http.StatusForbidden, ""},
		{"no token", "GET", poll, "anonymous", "PC1", http.StatusUnauthorized, `{"detail":"Authentication credentials were not provided."}`},
		{"a result of an unknown command", "POST", result, "agent", "PC1", http.StatusNotFound, `{"error":"Command not found"}`},
		{"a result with a wrong token", "POST", result, "wrong", "PC1", http.StatusUnauthorized, `{"detail":"Invalid token."}`},
	} {
		req := httptest.NewRequest(c.method, c.path, strings.NewReader(`{"status":"success"}`))
		req.Header.Set(s.Credentials[c.caller][0], s.Credentials[c.caller][1])
		req.Header.Set("X-Agent-ID", c.agent)
		w := httptest.NewRecorder()
		s.Mux.ServeHTTP(w, req)
		if got := strings.TrimSpace(w.Body.String()); w.Code != c.status || c.body != "" && got != c.body {
			t.Errorf("%s: %d %s, want %d %s", c.name, w.Code, got, c.status, c.body)
		}
	}
}
