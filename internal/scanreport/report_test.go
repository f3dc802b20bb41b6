package scanreport_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/scan"
	"github.com/picket-edr/picket/internal/scanreport"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/ast"
)

var start = time.Date(2026, 3, 1, 23, 0, 0, 0, time.UTC)

// match is a match of the rule "rule-N" with the level N on an event of host-N.
func match(level sigma.Level, at time.Time, command string) scan.LocatedMatch {
	n := int(level)
	text, _ := json.Marshal(command) // a string always marshals
	raw := fmt.Sprintf(`{"Event":{"System":{"EventID":%d,"Computer":"host-%d","Channel":"Security"},"EventData":{"LogonType":"3","TokenElevationType":"%%%%1938","CommandLine":%s}}}`, 4680+n, n, text)
	return scan.LocatedMatch{File: "a.evtx", Record: n, Raw: []byte(raw), Match: picket.Match{RuleID: fmt.Sprint("rule-", n), Title: fmt.Sprint("Rule ", n),
		Level: level, Host: fmt.Sprint("host-", n), Tags: []string{"attack.execution", "attack.t1059.00" + fmt.Sprint(n)}, Time: at, Why: []sigma.Evidence{{Field: "CommandLine", Value: command}}}}
}

func rules() (all []ruleset.RuleInfo) {
	for n, status := range []string{1: "test", 2: "stable", 3: "test", 4: "test", 5: "test"} {
		all = append(all, ruleset.RuleInfo{Meta: &ast.Meta{ID: fmt.Sprint("rule-", n), Status: status}, LogSource: sigma.LogSource{Product: "windows", Service: "security"}})
	}
	return all
}

// write returns the rows of a report in a format.
func write(t *testing.T, r *scanreport.Report, format string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := r.NewRowWriter(format, &b)
	testenv.Check(t, err)
	testenv.Check(t, r.WriteRows(w))
	testenv.Check(t, r.Close())
	return b.String()
}

func newReport(t *testing.T, o scanreport.Options, matches ...scan.LocatedMatch) *scanreport.Report {
	t.Helper()
	o.Rules, o.TempDir = rules(), t.TempDir()
	r := scanreport.New(o, true)
	for _, m := range matches {
		_, _, err := r.Add(m)
		testenv.Check(t, err)
	}
	return r
}

// Every format has all matches, sorted by time, those without a time last.
func TestFormats(t *testing.T) {
	hostile := "=cmd|' /C calc'!A0 \x1b[31m\u202e \"quoted\", <script>alert(1)</script>\nline"
	columns := []string{"time", "title", "LogonType", "TokenElevationType", "evidence", "techniques"}
	make := func() *scanreport.Report {
		return newReport(t, scanreport.Options{Columns: columns}, match(sigma.High, time.Time{}, "none"), match(sigma.Low, start.Add(time.Hour), "second"),
			match(sigma.Medium, start, hostile), match(sigma.Low, start.Add(time.Hour), "second"))
	}
	want := [][]string{
		{"2026-03-01T23:00:00.000Z", "Rule 3", "3 Network", "%%1938 TokenElevationTypeLimited (3)", "CommandLine=" + hostile, "T1059.003"},
		{"2026-03-02T00:00:00.000Z", "Rule 2", "3 Network", "%%1938 TokenElevationTypeLimited (3)", "CommandLine=second", "T1059.002"},
		{"", "Rule 4", "3 Network", "%%1938 TokenElevationTypeLimited (3)", "CommandLine=none", "T1059.004"},
	}
	rows, err := csv.NewReader(strings.NewReader(write(t, make(), "csv"))).ReadAll()
	testenv.Check(t, err)
	if diff := cmp.Diff(append([][]string{columns}, want...), rows); diff != "" {
		t.Error("csv:", diff)
	}
	var objects []map[string]string
	testenv.Check(t, json.Unmarshal([]byte(write(t, make(), "json")), &objects))
	lines := json.NewDecoder(strings.NewReader(write(t, make(), "jsonl")))
	for i, object := range objects {
		var line map[string]string
		testenv.Check(t, lines.Decode(&line))
		var values []string
		for _, c := range columns {
			values = append(values, object[c])
		}
		if diff := cmp.Diff(want[i], values) + cmp.Diff(object, line); diff != "" {
			t.Error("json:", diff)
		}
	}
	timeline := write(t, make(), "timeline")
	if strings.Count(timeline, "\n") != 3 || strings.ContainsAny(timeline, "\x1b\u202e") {
		t.Errorf("timeline: %q", timeline)
	}
	if len(objects) != 3 || write(t, newReport(t, scanreport.Options{Columns: columns}), "json") != "[]\n" {
		t.Errorf("%d objects", len(objects))
	}
}

// A cell that begins like a formula is text.
func TestNotFormula(t *testing.T) {
	r := newReport(t, scanreport.Options{Columns: []string{"CommandLine"}}, match(sigma.Low, start, "=1+1"))
	if got := write(t, r, "csv"); got != "CommandLine\r\n'=1+1\r\n" {
		t.Errorf("%q", got)
	}
}

// More rows than fit in memory are sorted in parts, and the parts are removed.
func TestManyRows(t *testing.T) {
	const n = 3000
	r := newReport(t, scanreport.Options{Columns: []string{"time", "title"}})
	r.SetSortMemory(400)
	for i := range n {
		_, _, err := r.Add(match(sigma.Low, start.Add(time.Duration(i*7919%n)*time.Second), fmt.Sprint(i)))
		testenv.Check(t, err)
	}
	lines := strings.Split(strings.TrimSuffix(write(t, r, "timeline"), "\n"), "\n")
	if len(lines) != n || !slices.IsSorted(lines) {
		t.Errorf("%d rows, sorted %v", len(lines), slices.IsSorted(lines))
	}
	if left := r.TempFiles(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFilter(t *testing.T) {
	all := []scan.LocatedMatch{match(sigma.Informational, time.Time{}, "a"), match(sigma.Low, start, "b"), match(sigma.Medium, start.Add(time.Hour), "c"), match(sigma.Critical, start.Add(2*time.Hour), "d")}
	for name, c := range map[string]struct {
		filter scanreport.Filter
		want   string
	}{
		"none":      {scanreport.Filter{}, "rule-1 rule-2 rule-3 rule-5"},
		"since":     {scanreport.Filter{Since: start.Add(time.Hour)}, "rule-3 rule-5"},
		"until":     {scanreport.Filter{Until: start.Add(time.Hour)}, "rule-2"},
		"min level": {scanreport.Filter{MinLevel: sigma.Medium}, "rule-3 rule-5"},
		"level":     {scanreport.Filter{ExactLevels: []sigma.Level{sigma.Low}}, "rule-2"},
		"levels":    {scanreport.Filter{MinLevel: sigma.High, Levels: map[string]sigma.Level{"rule-1": sigma.Critical, "rule-5": sigma.Low}}, "rule-1"},
		"status":    {scanreport.Filter{Statuses: []string{"STABLE"}}, "rule-2"},
		"tag":       {scanreport.Filter{Tags: []string{"t1059.002", "attack.t*.003"}}, "rule-2 rule-3"},
		"rule":      {scanreport.Filter{Rules: []string{"rule 1", "*-5"}}, "rule-1 rule-5"},
		"excluded":  {scanreport.Filter{Excluded: map[string]bool{"rule-1": true}}, "rule-2 rule-3 rule-5"},
		"category":  {scanreport.Filter{Categories: []string{"windows/sec*"}, EventIDs: []string{"4683"}}, "rule-3"},
		"other":     {scanreport.Filter{Categories: []string{"process_creation"}}, ""},
		"host":      {scanreport.Filter{Hosts: []string{"HOST-?"}, ExactLevels: []sigma.Level{sigma.Critical}}, "rule-5"},
	} {
		r := newReport(t, scanreport.Options{Filter: c.filter})
		var got []string
		for _, m := range all {
			m, selected, err := r.Add(m)
			testenv.Check(t, err)
			if selected {
				got = append(got, m.RuleID)
			}
		}
		if strings.Join(got, " ") != c.want || r.Summary.Matches != int64(len(got)) {
			t.Errorf("%s: %v", name, got)
		}
		testenv.Check(t, r.Close())
	}
}

// The page shows hostile strings as text.
func TestHTMLPage(t *testing.T) {
	r := newReport(t, scanreport.Options{Columns: []string{"time", "level", "evidence"}}, match(sigma.High, start, `"><script>alert(1)</script><img src=x onerror=alert(1)>`))
	var b bytes.Buffer
	testenv.Check(t, r.WriteRows(r.NewHTMLPage(&b)))
	page := b.String()
	for _, bad := range []string{"<script", "<img", "http:", "https:", `src=x onerror=alert(1)>`} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, want := range []string{"&lt;script&gt;alert(1)&lt;/script&gt;", `class="level high"`, "execution 1", "host-4", "Content-Security-Policy"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	testenv.Check(t, r.Close())
}

// The summary counts by level, rule, host, day and technique.
func TestSummary(t *testing.T) {
	zone := time.FixedZone("", 2*3600)
	r := newReport(t, scanreport.Options{Location: zone}, match(sigma.High, start, "a"), match(sigma.High, start.Add(24*time.Hour), "b"), match(sigma.Low, start.Add(25*time.Hour), "c"))
	text, err := json.Marshal(r.Summary.JSON())
	testenv.Check(t, err)
	want := `{"matches":3,"duplicates":0,"first":"2026-03-01T23:00:00Z","last":"2026-03-03T00:00:00Z","levels":[{"level":"critical","matches":0,"rules":[],"tactics":[]},` +
		`{"level":"high","matches":2,"rules":[{"rule_id":"rule-4","title":"Rule 4","matches":2}],"tactics":[{"name":"execution","matches":2}]},{"level":"medium","matches":0,"rules":[],"tactics":[]},` +
		`{"level":"low","matches":1,"rules":[{"rule_id":"rule-2","title":"Rule 2","matches":1}],"tactics":[{"name":"execution","matches":1}]},{"level":"informational","matches":0,"rules":[],"tactics":[]}],` +
		`"hosts":[{"name":"host-4","matches":2},{"name":"host-2","matches":1}],"days":[{"name":"2026-03-02","matches":1},{"name":"2026-03-03","matches":2}],"techniques":[{"name":"T1059.004","matches":2},{"name":"T1059.002","matches":1}]}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Error(diff)
	}
	var layer bytes.Buffer
	testenv.Check(t, r.Summary.WriteNavigatorLayer(&layer))
	if !strings.Contains(layer.String(), `"techniqueID": "T1059.004"`) || !json.Valid(layer.Bytes()) {
		t.Error(layer.String())
	}
	testenv.Check(t, r.Close())
}

// Names that senders choose are cut, and their number is bounded.
func TestSummaryIsBounded(t *testing.T) {
	r := newReport(t, scanreport.Options{})
	long := strings.Repeat("ü", 100_000)
	m := match(sigma.High, start, "a")
	m.RuleID, m.Title, m.Host = "falco:"+long, long, long
	_, _, err := r.Add(m)
	testenv.Check(t, err)
	text, err := json.Marshal(r.Summary.JSON())
	testenv.Check(t, err)
	if len(text) > 2000 || !strings.Contains(string(text), `"rule_id":"falco:ü`) {
		t.Errorf("%d bytes: %.300s", len(text), text)
	}
	testenv.Check(t, r.Close())
}
