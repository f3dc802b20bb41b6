package web

import (
	"fmt"
	"html/template"
	"io/fs"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// parsePages parses every page together with the layout.
func parsePages(now func() time.Time) map[string]*template.Template {
	funcs := template.FuncMap{
		"ago":   func(t time.Time) string { return timeAgo(now().Sub(t)) },
		"time":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
		"iso":   func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
		"num":   groupDigits,
		"bytes": byteSize,
		"age":   func(seconds float64) string { return largestUnit(time.Duration(seconds * float64(time.Second))) },
		"cell":  func(text any) string { return truncateToBytes(maxCellBytes, fmt.Sprint(text)) },
		"value": func(text string) string { return truncateToBytes(maxValueBytes, text) },
		"eventLink": func(id, namespace string) string {
			if id == "." || id == ".." { // browsers take these for directories, escaped or not
				return "/console/events?q=" + url.QueryEscape(exactTerm("event_id", id))
			}
			return "/console/events/" + url.PathEscape(id) + "?namespace=" + url.QueryEscape(store.NewEventRef(id, namespace).Namespace)
		},
		"hostTerms": func(agent, host string) string { return exactTerm("host", host) + " " + exactTerm("agent_id", agent) },
		"status":    func(s any) string { return strings.ReplaceAll(fmt.Sprint(s), "_", " ") },
		"of":        func(m map[picket.AlertStatus]int64, s picket.AlertStatus) int64 { return m[s] },
		"rate":      func(f float64) string { return fmt.Sprintf("%.1f", f) },
	}
	layout := template.Must(template.New("").Funcs(funcs).ParseFS(uiFiles, "ui/layout.html"))
	names, _ := fs.Glob(uiFiles, "ui/*.html")
	pages := make(map[string]*template.Template)
	for _, name := range names {
		if base := path.Base(name); base != "layout.html" {
			pages[base] = template.Must(template.Must(layout.Clone()).ParseFS(uiFiles, name))
		}
	}
	return pages
}

// timeAgo formats how long ago something was.
func timeAgo(d time.Duration) string {
	if d < 5*time.Second {
		return "now"
	}
	return largestUnit(d) + " ago"
}

// largestUnit formats a duration in its largest unit.
func largestUnit(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// groupDigits groups digits by threes.
func groupDigits(n int64) string {
	if n < 0 {
		return "-" + groupDigits(-n)
	}
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", groupDigits(n/1000), n%1000)
}

func byteSize(n int64) string {
	f, unit := float64(n), 0
	for f >= 1024 && unit < 4 {
		f, unit = f/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, [...]string{"", "KiB", "MiB", "GiB", "TiB"}[unit])
}

// exactTerm returns the term of a search query that selects the events whose field is
// value.
func exactTerm(field, value string) string {
	return field + `="` + strings.ReplaceAll(value, `"`, `\"`) + `"`
}
