package ruleset

import (
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	packNamePattern      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$`)
	invalidPackNameChars = regexp.MustCompile(`[^A-Za-z0-9._+-]+`)
	// versionSuffixPattern is the version or branch at the end of an archive's name.
	versionSuffixPattern = regexp.MustCompile(`(?i)[-_.](v?\d[\d.-]*|r\d{4}-\d{2}-\d{2}|main|master|head)$`)
	// githubPathPattern is a path at github.com: owner, repository, the rest.
	githubPathPattern = regexp.MustCompile(`^/([^/]+)/([^/]+?)(?:\.git)?(/.*)?$`)
)

func validPackName(name string) bool { return packNamePattern.MatchString(name) && name != "builtin" }

// DerivePackName derives the name of a pack from its path or URL: the last part without
// extension and version.
func DerivePackName(pathOrURL string) string {
	base := ""
	if u := parseURL(pathOrURL); u == nil {
		abs, err := filepath.Abs(pathOrURL)
		if err != nil {
			abs = pathOrURL
		}
		base = filepath.Base(abs)
	} else if m := githubPathPattern.FindStringSubmatch(u.Path); m != nil && isGitHub(u) && !strings.HasPrefix(m[3], "/releases/") && !strings.HasPrefix(m[3], "/blob/") {
		base = m[2]
	} else {
		base = path.Base(u.Path)
	}
	for _, ext := range []string{".zip", ".yml", ".yaml"} {
		if len(base) > len(ext) && strings.EqualFold(base[len(base)-len(ext):], ext) {
			base = base[:len(base)-len(ext)]
			break
		}
	}
	base = versionSuffixPattern.ReplaceAllString(base, "")
	base = strings.TrimRight(strings.TrimLeft(invalidPackNameChars.ReplaceAllString(base, "-"), "-._+"), "-._")
	return base[:min(len(base), 64)]
}

// parseURL returns from as URL, nil if it is a path.
func parseURL(pathOrURL string) *url.URL {
	if scheme, _, ok := strings.Cut(pathOrURL, "://"); !ok || strings.ContainsAny(scheme, `/\.`) {
		return nil
	}
	u, err := url.Parse(pathOrURL)
	if err != nil {
		return &url.URL{Opaque: pathOrURL} // rejected by checkHTTPSOrLoopback
	}
	return u
}

func isGitHub(u *url.URL) bool {
	return strings.EqualFold(u.Hostname(), "github.com") || strings.EqualFold(u.Hostname(), "www.github.com")
}

// contentURL converts the URL of a repository's or file's page on GitHub to the URL
// of its content.
func contentURL(u *url.URL) *url.URL {
	m := githubPathPattern.FindStringSubmatch(u.Path)
	if m == nil || !isGitHub(u) {
		return u
	}
	to := *u
	switch {
	case m[3] == "" || m[3] == "/":
		to.Path = "/" + m[1] + "/" + m[2] + "/archive/HEAD.zip"
	case strings.HasPrefix(m[3], "/blob/"):
		to.Path = "/" + m[1] + "/" + m[2] + "/raw/" + strings.TrimPrefix(m[3], "/blob/")
	}
	to.RawPath = ""
	return &to
}
