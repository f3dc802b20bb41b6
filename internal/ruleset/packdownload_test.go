package ruleset_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/ruleset"
)

func TestAddURL(t *testing.T) {
	archive, err := os.ReadFile(zipOf(t, member{name: "rules/a.yml", text: packRule(1)}))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	serve := func(path, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(body)) })
	}
	serve("/pack.zip", string(archive))
	serve("/latest", string(archive))
	serve("/one.yml", packRule(1))
	serve("/page", "<html>sign in</html>")
	serve("/large.zip", "PK\x03\x04"+strings.Repeat("x", 1<<20))
	mux.Handle("/moved.zip", http.RedirectHandler("/pack.zip", http.StatusFound))
	mux.Handle("/loop.zip", http.RedirectHandler("/loop.zip", http.StatusFound))
	mux.Handle("/away.zip", http.RedirectHandler("http://192.0.2.1/pack.zip", http.StatusFound))
	mux.Handle("/file.zip", http.RedirectHandler("file:///etc/passwd", http.StatusFound))
	server := httptest.NewServer(mux)
	defer server.Close()

	for _, path := range []string{"/pack.zip", "/latest?x=1", "/one.yml", "/moved.zip"} {
		if p, err := newPackDir(t).Add(t.Context(), server.URL+path, ruleset.AddOptions{Name: ""}); err != nil || p.Rules != 1 {
			t.Errorf("%s: %+v, %v", path, p, err)
		}
	}
	for path, want := range map[string]string{
		"/none.zip":  "the server answers 404",
		"/page":      "neither a folder, nor a .yml file, nor a zip",
		"/loop.zip":  "more than 5 redirects",
		"/away.zip":  ruleset.ErrPlainHTTP.Error(),
		"/file.zip":  "is no URL of https",
		"/large.zip": "larger than 1048576 bytes",
	} {
		f := newPackDir(t)
		f.Limits.Download = 1 << 20
		if _, err := f.Add(t.Context(), server.URL+path, ruleset.AddOptions{Name: "pack"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
		if got := tree(t, f.Path); got != nil {
			t.Errorf("%s: there are %q", path, got)
		}
	}
}

func TestAddInvalidURL(t *testing.T) {
	for _, from := range []string{"ftp://example.org/x.zip", "https://", "https:///x.zip", "file:///etc/x.yml", "https://[::1/x.zip"} {
		if _, err := newPackDir(t).Add(t.Context(), from, ruleset.AddOptions{Name: "pack"}); err == nil || !strings.Contains(err.Error(), "no URL of https") {
			t.Errorf("%s: %v", from, err)
		}
	}
	if _, err := newPackDir(t).Add(t.Context(), "http://example.org/x.zip", ruleset.AddOptions{Name: "pack"}); !errors.Is(err, ruleset.ErrPlainHTTP) {
		t.Error(err)
	}
}
