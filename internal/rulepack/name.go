package rulepack

import (
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$`)
	notName  = regexp.MustCompile(`[^A-Za-z0-9._+-]+`)
	// version is what release archives and branches carry behind their name.
	version = regexp.MustCompile(`(?i)[-_.](v?\d[\d.-]*|r\d{4}-\d{2}-\d{2}|main|master|head)$`)
	// githubPath is a path at github.com: owner, repository, the rest.
	githubPath = regexp.MustCompile(`^/([^/]+)/([^/]+?)(?:\.git)?(/.*)?$`)
)

func validName(name string) bool { return nameForm.MatchString(name) && name != "builtin" }

// NameOf makes the name of a pack from where it comes from: the last part of
// it, without its extension and version.
func NameOf(from string) string {
	base := ""
	if u := asURL(from); u == nil {
		abs, err := filepath.Abs(from)
		if err != nil {
			abs = from
		}
		base = filepath.Base(abs)
	} else if m := githubPath.FindStringSubmatch(u.Path); m != nil && isGitHub(u) && !strings.HasPrefix(m[3], "/releases/") && !strings.HasPrefix(m[3], "/blob/") {
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
	base = version.ReplaceAllString(base, "")
	base = strings.TrimRight(strings.TrimLeft(notName.ReplaceAllString(base, "-"), "-._+"), "-._")
	return base[:min(len(base), 64)]
}

// asURL returns the URL that from is, nil for a path.
func asURL(from string) *url.URL {
	if scheme, _, ok := strings.Cut(from, "://"); !ok || strings.ContainsAny(scheme, `/\.`) {
		return nil
	}
	u, err := url.Parse(from)
	if err != nil {
		return &url.URL{Opaque: from} // refused by checkURL
	}
	return u
}

func isGitHub(u *url.URL) bool {
	return strings.EqualFold(u.Hostname(), "github.com") || strings.EqualFold(u.Hostname(), "www.github.com")
}

// direct turns the page of a repository or file on GitHub into the address of
// what it shows.
func direct(u *url.URL) *url.URL {
	m := githubPath.FindStringSubmatch(u.Path)
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
