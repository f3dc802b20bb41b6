// Package sigmatest reads the rules and events that tests of Sigma's packages
// run on.
package sigmatest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/ast"
)

var sigmaHQ struct {
	once sync.Once
	all  ast.Collection
	errs []error
}

// SigmaHQRules returns all rules of SigmaHQ. It skips the test if there is no test
// data.
func SigmaHQRules(t testing.TB) ast.Collection {
	dir := filepath.Join(testenv.ExternalDataDir(t), "sigmahq")
	sigmaHQ.once.Do(func() {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			rel, _ := filepath.Rel(dir, path)
			if err != nil || d.IsDir() || filepath.Ext(path) != ".yml" || !strings.HasPrefix(rel, "rules") {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			rules, err := sigma.Parse(rel, data)
			if err != nil {
				sigmaHQ.errs = append(sigmaHQ.errs, err)
			}
			sigmaHQ.all.Add(rules)
			return nil
		})
		if err != nil {
			sigmaHQ.errs = append(sigmaHQ.errs, err)
		}
	})
	for _, err := range sigmaHQ.errs {
		t.Error(err)
	}
	return sigmaHQ.all
}

// An Event is a decoded event with its origin.
type Event struct {
	File    string
	Number  int // line in the file
	Sources []ast.LogSource
	Fields  []sigma.Field

	channel string
	id      int
}

// RecordedEvents returns recorded Windows events. It skips the test if there is no
// test data.
func RecordedEvents(t testing.TB) []Event {
	files, err := filepath.Glob(filepath.Join(testenv.ExternalDataDir(t), "otrf", "*.json.gz"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no events in the test data: %v", err)
	}
	var out []Event
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(z)
		lines.Buffer(nil, 1<<24)
		for n := 1; lines.Scan(); n++ {
			ev := Event{File: filepath.Base(name), Number: n}
			if ev.Fields, err = Flatten(lines.Bytes()); err != nil {
				t.Fatalf("%s:%d: %v", name, n, err)
			}
			for i := range ev.Fields {
				switch f := &ev.Fields[i]; f.Name {
				case "Channel":
					ev.channel = f.Value.Text
				case "EventID":
					ev.id, _ = strconv.Atoi(f.Value.Text)
				}
			}
			ev.setSources()
			out = append(out, ev)
		}
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return out
}

// Flatten decodes a flat JSON object into fields.
func Flatten(data []byte) ([]sigma.Field, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var object map[string]any
	if err := dec.Decode(&object); err != nil {
		return nil, err
	}
	var fields []sigma.Field
	var add func(name string, v any)
	add = func(name string, v any) {
		name = strings.ReplaceAll(name, " ", "")
		switch v := v.(type) {
		case nil:
			fields = append(fields, sigma.Field{Name: name})
		case string:
			fields = append(fields, sigma.Field{Name: name, Value: sigma.Value{Kind: ast.String, Text: v}})
		case bool:
			fields = append(fields, sigma.Field{Name: name, Value: sigma.Value{Kind: ast.Bool, Text: fmt.Sprint(v)}})
		case json.Number:
			fields = append(fields, sigma.Field{Name: name, Value: sigma.Value{Kind: ast.Number, Text: v.String()}})
		case []any:
			for _, e := range v {
				add(name, e)
			}
		}
	}
	for _, name := range sortedKeys(object) {
		add(name, object[name])
	}
	return fields, nil
}

var sysmonCategories = map[int][]string{
	1: {"process_creation"}, 2: {"file_change"}, 3: {"network_connection"}, 4: {"sysmon_status"}, 5: {"process_termination"},
	6: {"driver_load"}, 7: {"image_load"}, 8: {"create_remote_thread"}, 9: {"raw_access_thread"}, 10: {"process_access"},
	11: {"file_event"}, 12: {"registry_event"}, 13: {"registry_event", "registry_set"},
	14: {"registry_event", "registry_rename"}, 15: {"create_stream_hash"}, 16: {"sysmon_status"}, 17: {"pipe_created"},
	18: {"pipe_created"}, 19: {"wmi_event"}, 20: {"wmi_event"}, 21: {"wmi_event"}, 22: {"dns_query"}, 23: {"file_delete"},
	25: {"process_tampering"}, 26: {"file_delete_detected"},
}

// setSources sets the logsources of the event, and renames fields of Security 4688.
func (ev *Event) setSources() {
	add := func(category, service string) {
		ev.Sources = append(ev.Sources, ast.LogSource{Product: "windows", Category: category, Service: service})
	}
	switch channel := strings.ToLower(ev.channel); channel {
	case "microsoft-windows-sysmon/operational":
		cats := sysmonCategories[ev.id]
		if ev.id == 12 {
			cats = ev.withRegistryCategories(cats)
		}
		for _, c := range cats {
			add(c, "sysmon")
		}
		if cats == nil {
			add("", "sysmon")
		}
	case "security":
		if ev.id == 4688 {
			add("process_creation", "security")
			for i := range ev.Fields {
				switch f := &ev.Fields[i]; f.Name {
				case "NewProcessName":
					f.Name = "Image"
				case "ParentProcessName":
					f.Name = "ParentImage"
				}
			}
			return
		}
		add("", "security")
	case "microsoft-windows-powershell/operational", "powershellcore/operational":
		add(map[int]string{4103: "ps_module", 4104: "ps_script"}[ev.id], "powershell")
	case "windows powershell":
		add(map[int]string{400: "ps_classic_start", 600: "ps_classic_provider_start", 800: "ps_classic_script"}[ev.id], "powershell-classic")
	case "system", "application":
		add("", channel)
	case "microsoft-windows-windows defender/operational":
		add("", "windefend")
	case "microsoft-windows-wmi-activity/operational":
		add("", "wmi")
	}
}

func (ev *Event) withRegistryCategories(cats []string) []string {
	for _, f := range ev.Fields {
		if f.Name == "EventType" {
			switch f.Value.Text {
			case "CreateKey":
				return append([]string{"registry_add"}, cats...)
			case "DeleteKey", "DeleteValue":
				return append([]string{"registry_delete"}, cats...)
			}
		}
	}
	return cats
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// LintCleanRule is a rule in which lint finds nothing.
const LintCleanRule = `title: A Clean Rule
id: 3b1c6d0e-9a36-4b0c-a8dc-0c2b7a3a7a52
related:
    - {id: 3b1c6d0e-9a36-4b0c-a8dc-0c2b7a3a7a53, type: similar}
status: test
description: Nothing to be said against this.
references: [https://example.com/a]
author: A
date: 2024-01-02
modified: 2024-02-03
tags: [attack.execution, attack.t1059.001, cve.2024-3400, tlp.green, d3fend.d3-pa]
logsource:
    product: windows
    category: process_creation
detection:
    selection:
        CommandLine|contains: whoami
    filter:
        Image|endswith: '\cmd.exe'
    condition: selection and not filter
falsepositives: [Unknown]
level: low
`
