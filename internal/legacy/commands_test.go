package ingest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
)

// The replaced system's agent asks for commands, for itself only, and hears
// that there is none.
func TestCommands(t *testing.T) {
	r := newRig(t, sqlitequeue.Options{}, ingest.Options{})
	const poll, result = "/api/v1/commands/poll/", "/api/v1/commands/result/c-1/"
	for _, c := range []struct {
		name, method, path, token, agent string
		status                           int
		body                             string
	}{
		{"none waits", "GET", poll, r.agent, "PC1", http.StatusNoContent, ""},
		{"for a forwarder", "GET", poll, r.collector, "PC7", http.StatusNoContent, ""},
		{"no agent", "GET", poll, r.agent, "", http.StatusBadRequest, `{"error":"X-Agent-ID header required"}`},
		{"another agent's", "GET", poll, r.agent, "PC2", http.StatusForbidden, ""},
		{"no token", "GET", poll, "", "PC1", http.StatusUnauthorized, `{"detail":"Authentication credentials were not provided."}`},
		{"a result of none", "POST", result, r.agent, "PC1", http.StatusNotFound, `{"error":"Command not found"}`},
		{"a result without token", "POST", result, "wrong", "PC1", http.StatusUnauthorized, `{"detail":"Invalid token."}`},
	} {
		headers := []string{"X-Agent-ID", c.agent}
		if c.token != "" {
			headers = append(headers, "Authorization", "Token "+c.token)
		}
		w := r.do(c.method, c.path, strings.NewReader(`{"status":"success"}`), headers...)
		if got := strings.TrimSpace(w.Body.String()); w.Code != c.status || c.body != "" && got != c.body {
			t.Errorf("%s: %d %s, want %d %s", c.name, w.Code, got, c.status, c.body)
		}
	}
}
