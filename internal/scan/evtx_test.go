package scan_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/scan"
	"github.com/picket-edr/picket/internal/testenv"
)

const export = `<?xml version="1.0" encoding="UTF-8"?>
<Events>
<Event xmlns="http://schemas.microsoft.com/win/2004/08/events/event">
  <System>
    <Provider Name="Microsoft-Windows-Sysmon" Guid="{5770385F-C22A-43E0-BF4C-06F5698FFBD9}"/>
    <EventID>1</EventID>
    <TimeCreated SystemTime="2026-01-02T03:04:05.0000000Z"/>
    <Channel>Microsoft-Windows-Sysmon/Operational</Channel>
    <Computer>ws1</Computer>
  </System>
  <EventData>
    <Data Name="Image">C:\Windows\System32\cmd.exe</Data>
    <Data Name="CommandLine">cmd /c &quot;a &amp; b&quot;</Data>
    <Data Name="Empty"></Data>
  </EventData>
</Event>
<Event><System><EventID Qualifiers="0">7</EventID></System><EventData><Data>one</Data><Data>two</Data></EventData></Event>
</Events>`

// Events exported as XML become what reading the event log returns.
func TestXML(t *testing.T) {
	want := []string{
		`{"Event":{"EventData":{"CommandLine":"cmd /c \"a & b\"","Empty":null,"Image":"C:\\Windows\\System32\\cmd.exe"},` +
			`"System":{"Channel":"Microsoft-Windows-Sysmon/Operational","Computer":"ws1","EventID":"1",` +
			`"Provider":{"#attributes":{"Guid":"{5770385F-C22A-43E0-BF4C-06F5698FFBD9}","Name":"Microsoft-Windows-Sysmon"}},` +
			`"TimeCreated":{"#attributes":{"SystemTime":"2026-01-02T03:04:05.0000000Z"}}}}}`,
		`{"Event":{"EventData":{"Data":["one","two"]},"System":{"EventID":{"#attributes":{"Qualifiers":"0"},"#text":"7"}}}}`,
	}
	for name, text := range map[string]string{
		"a.xml": export, "named.log": export, "bom.xml": "\xef\xbb\xbf" + export,
		"bare.xml": strings.NewReplacer("<Events>", "", "</Events>", "", `<?xml version="1.0" encoding="UTF-8"?>`, "").Replace(export),
	} {
		var got []string
		err := scan.ReadFiles(t.Context(), []string{file(t, name, []byte(text))}, new(scan.Progress), func(_ string, raw []byte) error {
			var v any
			if err := json.Unmarshal(raw, &v); err != nil {
				return err
			}
			var b bytes.Buffer
			e := json.NewEncoder(&b)
			e.SetEscapeHTML(false)
			err := e.Encode(v)
			got = append(got, strings.TrimSpace(b.String()))
			return err
		}, func(err error) { t.Error(err) })
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
}

func TestMalformedXML(t *testing.T) {
	for name, text := range map[string]string{
		"cut":   export[:len(export)-60],
		"deep":  "<Event>" + strings.Repeat("<a>", 100_000),
		"other": `<?xml version="1.0" encoding="UTF-16"?><Event/>`,
	} {
		var problems []error
		err := scan.ReadFiles(t.Context(), []string{file(t, "a.xml", []byte(text))}, new(scan.Progress), func(string, []byte) error { return nil }, func(err error) { problems = append(problems, err) })
		if err != nil || len(problems) != 1 {
			t.Errorf("%s: %v, problems %v", name, err, problems)
		}
	}
}

// An event log and the JSON that was made from it match the same rules.
func TestEVTX(t *testing.T) {
	dir := testenv.ExternalDataDir(t)
	set, err := ruleset.Load([]ruleset.Source{{Name: filepath.Join(dir, "sigmahq")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var logs, texts []string
	err = filepath.WalkDir(filepath.Join(dir, "regression"), func(path string, _ os.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".evtx" {
			logs, texts = append(logs, path), append(texts, strings.TrimSuffix(path, ".evtx")+".json")
		}
		return err
	})
	if err != nil || len(logs) == 0 {
		t.Fatalf("%d logs, %v", len(logs), err)
	}
	e := detect.NewEngine(set.Rules, nil)
	matches := func(paths []string) (all []string) {
		err := scan.Files(t.Context(), e, paths, new(scan.Progress), func(m scan.LocatedMatch) error {
			if m.Title == "" || m.Record < 1 || m.Time.IsZero() {
				t.Errorf("match is %+v", m)
			}
			all = append(all, strings.TrimSuffix(m.File, filepath.Ext(m.File))+" "+m.RuleID)
			return nil
		}, func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(all)
		return all
	}
	if diff := cmp.Diff(matches(texts), matches(logs)); diff != "" {
		t.Errorf("(-JSON +log)\n%s", diff)
	}
}

// An event log of which chunks are missing is a problem.
func TestTruncatedEVTX(t *testing.T) {
	header := make([]byte, 4096)
	copy(header, "ElfFile\x00")
	header[42] = 1 // chunk
	var problems []string
	err := scan.Files(t.Context(), engine(t), []string{file(t, "cut.evtx", header)}, new(scan.Progress),
		func(scan.LocatedMatch) error { return nil }, func(err error) { problems = append(problems, err.Error()) })
	if err != nil || len(problems) != 1 || !strings.HasSuffix(problems[0], "cut.evtx: the event log is cut off: of 1 chunks, 0 are complete") {
		t.Errorf("%v, problems %q", err, problems)
	}
}
