package normalize_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"weak"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/sigma"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Every format has a case: an event, and a golden file of what Read returns.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	seen := make(map[string]bool)
	r := normalize.NewReader() // one for all, as in the worker: no event may leak into the next
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d, err := r.Read(raw)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		seen[d.Format] = true
		got, golden := describe(d), strings.TrimSuffix(file, ".json")+".golden"
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", file, diff)
		}
	}
	for _, name := range normalize.FormatNames() {
		if !seen[name] {
			t.Errorf("no case for format %s", name)
		}
	}
}

func describe(d *normalize.Event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "format %s\ntype  %s\nos    %s\n", d.Format, d.Class.Type, d.Class.OS)
	for _, s := range d.Class.Sources {
		fmt.Fprintf(&b, "source product=%s category=%s service=%s\n", s.Product, s.Category, s.Service)
	}
	fmt.Fprintf(&b, "id    %q\nagent %q\nhost  %q\ndeclared type %q\ntime  %s\n", d.ID, d.AgentID, d.Host, d.Type, d.Time.Format("2006-01-02T15:04:05.000000Z07:00"))
	if d.Alert != nil {
		fmt.Fprintf(&b, "alert %s %q %s %v\n", d.Alert.RuleID, d.Alert.Title, d.Alert.Level, d.Alert.Tags)
	}
	kinds := map[sigma.Kind]string{sigma.Null: "null", sigma.String: "string", sigma.Number: "number", sigma.Bool: "bool"}
	for _, f := range d.Fields(nil) {
		fmt.Fprintf(&b, "%s = %s %q\n", f.Name, kinds[f.Value.Kind], f.Value.Text)
	}
	return b.String()
}

// An event_id or agent_id at the top level is used in every format.
func TestDeclaredIdentity(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.json")
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		raw = append([]byte(`{"event_id":"declared","agent_id":"me","event_type":"process",`), bytes.TrimSpace(raw)[1:]...)
		// Where the event has these itself, the last of the two counts.
		own := bytes.Contains(raw[60:], []byte(`"agent_id"`)) || bytes.Contains(raw[60:], []byte(`"event_id"`))
		d, err := normalize.NewReader().Read(raw)
		if err != nil {
			t.Errorf("%s: %v", file, err)
		} else if !own && (d.ID != "declared" || d.AgentID != "me" || d.Type != "process") {
			t.Errorf("%s: id %q, agent %q, type %q", file, d.ID, d.AgentID, d.Type)
		}
	}
}

func FuzzRead(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.json")
	for _, file := range files {
		raw, _ := os.ReadFile(file)
		f.Add(raw)
	}
	r := normalize.NewReader()
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := r.Read(raw)
		if err != nil {
			return
		}
		if d.Class == nil {
			t.Fatal("no class")
		}
		d.Fields(nil)
	})
}

func BenchmarkRead(b *testing.B) {
	for _, name := range []string{"windows-flat", "native-process", "native-exec", "native-file", "winlogbeat", "evtx-sysmon"} {
		raw, err := os.ReadFile("testdata/" + name + ".json")
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			r := normalize.NewReader()
			var fields []sigma.Field
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				d, err := r.Read(raw)
				if err != nil {
					b.Fatal(err)
				}
				fields = d.Fields(fields[:0])
			}
		})
	}
}

// An event of no known format belongs to the logsources that it declares, and those have
// the hint for rules that are for them.
func TestDeclaredLogSources(t *testing.T) {
	r := normalize.NewReader()
	for _, tt := range []struct{ raw, want string }{
		{`{"event_type":"vpn_login"}`, "product= category=vpn_login service=vpn_login\n"},
		{`{"event_type":"okta","product":"okta"}`, "product=okta category=okta service=okta\n"},
		{`{"event_type":"audit","vendor":"kubernetes","service":"audit","os":"linux"}`, "product=kubernetes category=audit service=audit\nproduct=linux category=audit service=audit\n"},
		{`{"event_type":"application","product":"kubernetes","service":"audit"}`, "product=kubernetes category=application service=application\nproduct=kubernetes category=application service=audit\n"},
		{`{"a":1,"product":"p"}`, "product=p category= service=\n"},
		{`{"a":1,"service":"s","os":"linux"}`, "product=linux category= service=s\n"},
		{`{"event_type":"firewall","product":"cisco","os":"linux"}`, "product=linux category=firewall service=\n"},
		{`{"agent_id":"a","event_id":"e","event_type":"vpn_login","severity":"low","version":"1","host":{"os":"Linux"}}`, "product=linux category=vpn_login service=vpn_login\n"},
		{`{"event_type":"` + strings.Repeat("x", 129) + `"}`, ""},
		{`{"a":1}`, ""},
	} {
		d, err := r.Read([]byte(tt.raw))
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for _, s := range d.Class.Sources {
			fmt.Fprintf(&got, "product=%s category=%s service=%s\n", s.Product, s.Category, s.Service)
		}
		if diff := cmp.Diff(tt.want, got.String()); diff != "" {
			t.Errorf("%s (-want +got)\n%s", tt.raw, diff)
		}
	}
	for source, want := range map[sigma.LogSource]string{
		{Category: "vpn_login"}:                                            `JSON events of your own have it with event_type "vpn_login"`,
		{Product: "okta", Service: "okta"}:                                 `JSON events of your own have it with event_type "okta", product "okta"`,
		{Product: "kubernetes", Category: "application", Service: "audit"}: `JSON events of your own have it with event_type "application", product "kubernetes", service "audit"`,
	} {
		if got := normalize.DeclarationHint(source); got != want {
			t.Errorf("%s: hint %q, want %q", source, got, want)
		}
	}
	if d, err := r.ReadOfType([]byte(`{"a":1}`), "vpn"); err != nil || len(d.Class.Sources) != 1 || d.Class.Sources[0].Category != "vpn" {
		t.Errorf("of type vpn: %+v, %v", d, err)
	}
}

// Classes of made-up types do not fill the memory.
func TestManyDeclaredTypes(t *testing.T) {
	r := normalize.NewReader()
	read := func(typ string) *normalize.Class {
		d, err := r.Read([]byte(`{"event_type":"` + typ + `"}`))
		if err != nil {
			t.Fatal(err)
		}
		return d.Class
	}
	first := weak.Make(read("first"))
	for n := range 5000 {
		typ := fmt.Sprint("t", n)
		if class := read(typ); class != read(typ) {
			t.Fatal("equal classes are not the same pointer")
		}
	}
	testenv.Until(t, "the first class is freed", func() bool { runtime.GC(); return first.Value() == nil })
	runtime.KeepAlive(r)
}
