package ruleconvert_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/internal/legacy/ruleconvert"
	"github.com/picket-edr/picket/internal/ruleset"
)

var update = flag.Bool("update", false, "write the golden files")

// Rules as the legacy system was seeded with come out as in the golden file, and
// each fires on an event of its own and not on that of another.
func TestSeeds(t *testing.T) {
	data, err := os.ReadFile("testdata/seeds.json")
	if err != nil {
		t.Fatal(err)
	}
	rules, errs := ruleconvert.ConvertJSON(data)
	if len(errs) > 0 || len(rules) != 7 {
		t.Fatalf("%d rules, %v", len(rules), errs)
	}
	var all [][]byte
	for _, r := range rules {
		all = append(all, r.YAML)
	}
	got := bytes.Join(all, []byte("---\n"))
	if *update {
		if err := os.WriteFile("testdata/seeds.yml", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/seeds.yml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}

	var olds []map[string]any
	if err := json.Unmarshal(data, &olds); err != nil {
		t.Fatal(err)
	}
	process := func(name, line, user, parent string) map[string]any {
		return event("process", map[string]any{"name": name, "command_line": line, "user": user, "parent_image": parent, "action": "created"})
	}
	events := []map[string]any{
		process(`C:\Windows\powershell.exe`, "PowerShell -w hidden", `CORP\ann`, `C:\Windows\explorer.exe`),
		process(`C:\Windows\powershell.exe`, "powershell -encodedcommand AAAA", `NT AUTHORITY\SYSTEM`, `C:\Windows\explorer.exe`),
		process(`C:\Windows\CMD.EXE`, "cmd /c x", `CORP\ann`, `C:\Office\winword.exe`),
		event("network", map[string]any{"dest_port": 8001.0, "protocol": "TCP", "image": `C:\x.exe`}),
		process(`c:\tools\PWDUMP.exe`, "x", `CORP\ann`, ""),
		process(`C:\Users\ann\downloads\x.EXE`, "x", `CORP\ann`, `C:\Windows\System32\cmd.exe`),
		event("file", map[string]any{"path": `C:\Users\ann\Start Menu\Programs\Startup\x.lnk`, "operation": "deleted"}),
		event("network", map[string]any{"dest_port": 8001.0, "protocol": "TCP", "image": `C:\chrome.exe`}),
		event("network", map[string]any{"dest_port": 8000.0, "protocol": "TCP", "image": `C:\x.exe`}),
		event("file", map[string]any{"path": `C:\Users\ann\Start Menu\Programs\Startup\Desktop.ini`, "operation": "created"}),
		event("process", map[string]any{}),
	}
	for i, old := range olds {
		if !oldFires(old, events[i]) {
			t.Errorf("%s does not fire", old["rule_id"])
		}
		if fired := agree(t, old, events); fired != 1 && i != 0 {
			t.Errorf("%s fires on %d events", old["rule_id"], fired)
		}
	}
}

const convertedConditions = `{"entity_type":"process","logic":"AND","conditions":[{"field":"process.name","operator":"equals","value":"x"}]}`

// Rules are found in all forms of dumps.
func TestInputForms(t *testing.T) {
	record := func(id string) string {
		return `{"rule_id":"` + id + `","name":"N ` + id + `","severity":"LOW","deployment_status":"PRODUCTION","detection_logic":` + convertedConditions + `}`
	}
	quoted, _ := json.Marshal(convertedConditions)
	units := utf16.Encode([]rune(record("U")))
	wide := []byte{0xFF, 0xFE}
	for _, u := range units {
		wide = binary.LittleEndian.AppendUint16(wide, u)
	}
	for _, c := range []struct{ name, data, want string }{
		{"one", record("A"), "A"},
		{"an array", "[" + record("A") + "," + record("B") + "]", "A B"},
		{"lines", record("A") + "\n" + record("B") + "\n", "A B"},
		{"a dump of Django's", `[{"model":"ingestion.detectionrule","pk":7,"fields":` + record("A") + `},{"model":"auth.user","pk":1,"fields":{}}]`, "A"},
		{"a dump with the id as key", `[{"model":"ingestion.detectionrule","pk":7,"fields":{"name":"x","detection_logic":` + convertedConditions + `}}]`, "7"},
		{"MongoDB's export", `{"_id":{"$oid":"65f0"},` + record("A")[1:], "A"},
		{"without rule_id", `{"_id":{"$oid":"65f0"},"detection_logic":` + convertedConditions + `}`, "65f0"},
		{"the API's answer", `{"count":1,"results":[` + record("A") + `]}`, "A"},
		{"logic as text", `{"rule_id":"A","detection_logic":` + string(quoted) + `}`, "A"},
		{"the logic alone", convertedConditions, "rule-112b83e4f908"},
		{"a byte order mark", "\xEF\xBB\xBF" + record("A"), "A"},
		{"UTF-16", string(wide), "U"},
	} {
		rules, errs := ruleconvert.ConvertJSON([]byte(c.data))
		var ids []string
		for _, r := range rules {
			ids = append(ids, r.LegacyID)
		}
		if got := strings.Join(ids, " "); got != c.want || len(errs) > 0 {
			t.Errorf("%s: %q, %v", c.name, got, errs)
		}
	}
}

// Numbers of MongoDB's Extended JSON are numbers.
func TestMongoNumber(t *testing.T) {
	rules, errs := ruleconvert.ConvertJSON([]byte(`{"entity_type":"network","conditions":[{"field":"network.dest_port","operator":"greater_than","value":{"$numberInt":"8000"}}]}`))
	if len(errs) > 0 || !bytes.Contains(rules[0].YAML, []byte("DestinationPort|gt: 8000\n")) {
		t.Errorf("%v\n%s", errs, rules)
	}
}

// A rule that cannot be converted exactly is an error with a reason, and the
// others are converted.
func TestErrors(t *testing.T) {
	condition := func(c string) string {
		return `{"rule_id":"A","detection_logic":{"entity_type":"process","conditions":[` + c + `]}}`
	}
	for _, c := range []struct{ data, want string }{
		{`{`, "read JSON, after 0 values"},
		{``, "there are no rules in it"},
		{`[]`, "there are no rules in it"},
		{`[1]`, "value 1[0]: a rule is a JSON object"},
		{`{"a":1}`, "value 1: it has neither detection_logic nor conditions"},
		{`{"rule_id":"A","detection_logic":"{"}`, "A: detection_logic is no JSON object"},
		{`{"rule_id":"A","detection_logic":{"entity_type":"registry","conditions":[]}}`, `A: entity_type "registry" is none of`},
		{`{"rule_id":"A","detection_logic":{"entity_type":"process","conditions":[]}}`, "A: there are no conditions"},
		{`{"rule_id":"A","detection_logic":{"entity_type":"process","logic":"and","conditions":[{}]}}`, "A: logic and is neither AND nor OR"},
		{`{"rule_id":"A","severity":"BAD","detection_logic":` + convertedConditions + `}`, `A: severity "BAD"`},
		{`{"rule_id":"A","deployment_status":"LIVE","detection_logic":` + convertedConditions + `}`, `A: deployment_status "LIVE"`},
		{condition(`1`), "A: condition 1: it is no JSON object"},
		{condition(`{}`), "A: condition 1: it has no field"},
		{condition(`{"field":"process.name","operator":"like","value":"x"}`), `operator "like" is none`},
		{condition(`{"field":"process.name","operator":"equals"}`), "equals: value is missing"},
		{condition(`{"field":"process.name","operator":"equals","value":true}`), "true is neither a text nor a number"},
		{condition(`{"field":"process.name","operator":"equals","value":1.5}`), "1.5 is compared as text"},
		{condition(`{"field":"process.name","operator":"contains","value":5}`), "5 is a number where a text is wanted"},
		{condition(`{"field":"process.name","operator":"contains_any","value":"x"}`), "contains_any: values is missing or empty"},
		{condition(`{"field":"process.name","operator":"in_list","values":[1]}`), "put it into quotes"},
		{condition(`{"field":"process.name","operator":"in_list","values":"x"}`), "values is no list"},
		{condition(`{"field":"process.name","operator":"equals","value":"x","case_sensitive":"no"}`), "case_sensitive is neither"},
		{condition(`{"field":"process.pid","operator":"less_than","value":"many"}`), `"many" is no number`},
		{condition(`{"field":"process.name","operator":"regex","value":"(?=x)"}`), "RE2 has neither lookaround nor references"},
		{condition(`{"field":"network.dest_ip","operator":"equals","value":"x"}`), "events of type process have no network.dest_ip"},
		{condition(`{"field":"process","operator":"equals","value":"x"}`), "process is no field, but a group"},
		{condition(`{"field":"Image","operator":"equals","value":"x"}`), "Image is Sigma's name"},
		{condition(`{"field":"a|b","operator":"equals","value":"x"}`), "a field can't be called"},
		{`{"rule_id":"A","exceptions":[{"field":"x"}],"detection_logic":` + convertedConditions + `}`, `A: exception 1: operator ""`},
	} {
		rules, errs := ruleconvert.ConvertJSON([]byte(c.data))
		if len(rules) > 0 || len(errs) != 1 || !strings.Contains(errs[0].Error(), c.want) {
			t.Errorf("%s: %v, %v, want %q", c.data, rules, errs, c.want)
		}
	}
	good := `{"rule_id":"B","detection_logic":` + convertedConditions + `}`
	rules, errs := ruleconvert.ConvertJSON([]byte(condition(`{}`) + good + good))
	if len(rules) != 1 || len(errs) != 2 || errs[1].Error() != "B: there are two rules of this id; the first is converted" {
		t.Errorf("%v, %v", rules, errs)
	}
}

// The expectations are the results of Python's re.
func TestRegex(t *testing.T) {
	for _, c := range []struct{ source, note, err string }{
		{source: `^cmd(\.exe)?`},
		{source: `(?i)[^\\]+\.ps1`},
		{source: `(?i:a)b`},
		{source: `(?P<n>a)`},
		{source: `a{2,3}`},
		{source: `[$]`},
		{source: `\$`},
		{source: `\w+\b`, note: `\w \b in`},
		{source: `[\d]$`, note: "; $ in"},
		{source: `(?<=a)b`, err: "neither lookaround"},
		{source: `(a)\1`, err: "neither lookaround nor references"},
		{source: `a\Z`, err: "invalid escape"},
		{source: `a\z`, err: `\z is unknown`},
		{source: `\pL`, err: `\p is unknown`},
		{source: `\x{41}`, err: `\x is unknown`},
		{source: `\Q.\E`, err: `\Q is unknown`},
		{source: `\12`, err: "a reference to a group"},
		{source: `a{,3}`, err: "{,n}"},
		{source: `[[:alpha:]]`, err: "[: within a class"},
		{source: `[a[:alpha:]]`, err: "[: within a class"},
		{source: `a(?i)b`, err: "flags that do not stand"},
		{source: `(?-s)b`, err: "flags that do not stand"},
		{source: `(?<n>a)`, err: "(?< is unknown"},
		{source: `(?U)a`, err: "(?U is unknown"},
		{source: `(`, err: "missing closing )"},
	} {
		data, _ := json.Marshal(ruleOf("process", "AND", []any{map[string]any{"field": "process.name", "operator": "regex", "value": c.source}}, nil))
		rules, errs := ruleconvert.ConvertJSON(data)
		switch {
		case c.err != "":
			if len(errs) != 1 || !strings.Contains(errs[0].Error(), c.err) {
				t.Errorf("%s: %v, want %q", c.source, errs, c.err)
			}
		case len(errs) > 0:
			t.Errorf("%s: %v", c.source, errs)
		case len(rules[0].Notes) > 1, !strings.Contains(fmt.Sprint(rules[0].Notes), c.note), (c.note == "") != (rules[0].Notes == nil):
			t.Errorf("%s: notes %q, want %q", c.source, rules[0].Notes, c.note)
		}
	}
}

// A rule about files is about created files, deleted files, or both.
func TestFileOperation(t *testing.T) {
	for operation, want := range map[string][]string{"created": {"file_event"}, "deleted": {"file_delete"}, "": {"file_event", "file_delete"}, "renamed": {"file_event", "file_delete"}} {
		conditions := []any{map[string]any{"field": "file.path", "operator": "contains", "value": "x"}}
		if operation != "" {
			conditions = append(conditions, map[string]any{"field": "file.operation", "operator": "equals", "value": operation})
		}
		data, _ := json.Marshal(ruleOf("file", "AND", conditions, nil))
		rules, errs := ruleconvert.ConvertJSON(data)
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		var got []string
		for line := range strings.Lines(string(rules[0].YAML)) {
			if c, ok := strings.CutPrefix(strings.TrimSpace(line), "category: "); ok {
				got = append(got, c)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, not %q", operation, got, want)
		}
	}
}

// Notes list what the reader should know, and are comments in the rule.
func TestNotes(t *testing.T) {
	rules, errs := ruleconvert.ConvertJSON([]byte(`{"rule_id":"A","enabled":true,"deployment_status":"DRAFT","effective_until":"2025-01-01T00:00:00Z",
		"detection_logic":{"entity_type":"process","conditions":[{"field":"process.name","operator":"equals","value":"x"}],
		"exceptions":[{"field":"process.user","operator":"equals","value":"x"}]}}`))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	want := []string{
		"it did not run, as it was DRAFT; here it does, until picket rules disable 079f3052-516a-53ee-9d5a-1fa8298d8a85",
		"it ran until 2025-01-01T00:00:00Z; here it runs always",
		"exceptions within detection_logic had no effect; here they have",
	}
	if diff := cmp.Diff(want, rules[0].Notes); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if !bytes.HasPrefix(rules[0].YAML, []byte("# it did not run")) {
		t.Errorf("%s", rules[0].YAML)
	}
}

// Whatever the input, converted rules load.
func FuzzJSON(f *testing.F) {
	seeds, err := os.ReadFile("testdata/seeds.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seeds)
	f.Add([]byte(convertedConditions))
	f.Add([]byte(`{"entity_type":"network","conditions":[{"field":"network.dest_port","operator":"less_than","value":"1e9999999999"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		rules, _ := ruleconvert.ConvertJSON(data)
		for _, r := range rules {
			set, err := ruleset.Load([]ruleset.Source{{Name: "x", FS: fstest.MapFS{"r.yml": {Data: r.YAML}}}}, nil)
			if err != nil || len(set.Problems) > 0 || set.Rules.Len() == 0 {
				t.Errorf("%v, %v\n%s", err, set.Problems, r.YAML)
			}
		}
	})
}
