package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/picket-edr/picket"
)

// GET /readyz says which part is not usable, without naming hosts and files.
func TestNotReadyNamesNoHost(t *testing.T) {
	err := readiness{"queue": {err: fmt.Errorf("dial redis://secret:6379: %w", picket.ErrUnavailable)}, "store": {}, "rules": {err: errors.New("/secret/rules")}}.err()
	w := httptest.NewRecorder()
	writeNotReady(w, httptest.NewRequest("GET", "/readyz", nil), err)
	body := w.Body.String()
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || strings.Contains(body, "secret") ||
		!strings.Contains(body, `"queue":"temporarily unavailable`) || !strings.Contains(body, `"store":"ok"`) {
		t.Errorf("%d %v %s", w.Code, w.Header(), body)
	}
	if !strings.Contains(err.Error(), "redis://secret:6379") || !strings.Contains(err.Error(), "/secret/rules") {
		t.Errorf("the log has %q", err)
	}
}
