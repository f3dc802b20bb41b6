package ruleset

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// The URL of a GitHub page becomes the URL of the file or archive that it shows.
// Other URLs stay.
func TestDownloadURL(t *testing.T) {
	for from, want := range map[string]string{
		"https://github.com/SigmaHQ/sigma":              "https://github.com/SigmaHQ/sigma/archive/HEAD.zip",
		"https://github.com/SigmaHQ/sigma.git":          "https://github.com/SigmaHQ/sigma/archive/HEAD.zip",
		"https://github.com/SigmaHQ/sigma/":             "https://github.com/SigmaHQ/sigma/archive/HEAD.zip",
		"https://github.com/o/r/blob/main/a/b.yml":      "https://github.com/o/r/raw/main/a/b.yml",
		"https://github.com/o/r/releases/download/1/x":  "https://github.com/o/r/releases/download/1/x",
		"https://github.com/o":                          "https://github.com/o",
		"https://example.org/SigmaHQ/sigma":             "https://example.org/SigmaHQ/sigma",
		"https://github.com.example.org/SigmaHQ/sigma/": "https://github.com.example.org/SigmaHQ/sigma/",
	} {
		if got := contentURL(parseURL(from)).String(); got != want {
			t.Errorf("%s leads to %s, not %s", from, got, want)
		}
	}
}

// A redirect from https to http is not followed, not even to this machine.
func TestRedirectToHTTP(t *testing.T) {
	via := httptest.NewRequest(http.MethodGet, "https://127.0.0.1/x.zip", http.NoBody)
	to := httptest.NewRequest(http.MethodGet, "http://127.0.0.1/x.zip", http.NoBody)
	if err := checkRedirect(to, []*http.Request{via}); err == nil {
		t.Error("it is followed")
	}
	if err := checkRedirect(to, []*http.Request{to}); err != nil {
		t.Error(err)
	}
}
