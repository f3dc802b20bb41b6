package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/picket-edr/picket/internal/testenv"
)

// A proxy before the server answers every other request itself, as portals and wrong
// virtual hosts do: all events arrive, and none is a dead letter. The token is not sent
// where a redirect points.
func TestAgentBehindPortal(t *testing.T) {
	t.Parallel()
	f := newAgentFixture(t, 3500) // 7 batches
	server, err := url.Parse(f.url)
	testenv.Check(t, err)
	var redirected atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { redirected.Add(1) }))
	defer elsewhere.Close()
	var requests atomic.Int64
	answers := []int{200, 0, 201, 0, 400, 0, 413, 0, 502, 0, 307, 0}
	forward := httputil.NewSingleHostReverseProxy(server)
	portal := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := answers[int(requests.Add(1)-1)%len(answers)]
		if status == 0 {
			forward.ServeHTTP(w, r)
			return
		}
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if status == 307 {
			w.Header().Set("Location", elsewhere.URL)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, "<!DOCTYPE html><title>Welcome</title>")
	}))
	defer portal.Close()
	direct := f.url
	f.url = portal.URL
	p := f.startAgent()
	f.waitForExit(p)
	f.url = direct
	f.check()
	for _, status := range []string{"200 OK", "201 Created", "400 Bad Request", "413 Request Entity Too Large", "502 Bad Gateway", "307 Temporary Redirect"} {
		if !strings.Contains(p.stderr.String(), status+" (text/html; charset=utf-8)") {
			t.Errorf("%s is not in the log: %s", status, p.stderr.String())
		}
	}
	if redirected.Load() != 0 {
		t.Error("a redirect was followed")
	}
}
