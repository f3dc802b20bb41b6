package flatjson_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/sigma"
)

func str(s string) sigma.Value { return sigma.Value{Kind: sigma.String, Text: s} }
func num(s string) sigma.Value { return sigma.Value{Kind: sigma.Number, Text: s} }

func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []sigma.Field
	}{
		{`{}`, nil},
		{` {"a" : 1 } `, []sigma.Field{{Name: "a", Value: num("1")}}},
		{`{"a":{"b":{"c":"x"}},"d":null}`, []sigma.Field{{Name: "a.b.c", Value: str("x")}, {Name: "d"}}},
		{`{"a":["x",2,true,{"b":false}],"e":[]}`, []sigma.Field{
			{Name: "a", Value: str("x")}, {Name: "a", Value: num("2")},
			{Name: "a", Value: sigma.Value{Kind: sigma.Bool, Text: "true"}}, {Name: "a.b", Value: sigma.Value{Kind: sigma.Bool, Text: "false"}}}},
		{`{"p":"C:\\Windows\\cmd.exe","q":"\u0041\ud83d\ude00\ud800x\/\"\b\f\n\r\t"}`, []sigma.Field{
			{Name: "p", Value: str(`C:\Windows\cmd.exe`)}, {Name: "q", Value: str("A😀\ufffdx/\"\b\f\n\r\t")}}},
		{`{"a":1,"a":2}`, []sigma.Field{{Name: "a", Value: num("1")}, {Name: "a", Value: num("2")}}},
		{`{"n":-0.5e+10,"big":123456789012345678901234567890}`, []sigma.Field{
			{Name: "n", Value: num("-0.5e+10")}, {Name: "big", Value: num("123456789012345678901234567890")}}},
		{`{"ключ":"Ärzte long enough to pass the eight bytes"}`, []sigma.Field{{Name: "ключ", Value: str("Ärzte long enough to pass the eight bytes")}}},
	} {
		var d flatjson.Decoder
		got, err := d.Decode([]byte(tt.in), nil)
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.in, diff)
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	deep := strings.Repeat(`{"a":`, flatjson.MaxDepth+1) + "1" + strings.Repeat("}", flatjson.MaxDepth+1)
	for _, in := range []string{
		``, ` `, `[]`, `1`, `"a"`, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{a:1}`, `{"a":01}`, `{"a":1.}`, `{"a":.5}`,
		`{"a":+1}`, `{"a":1e}`, `{"a":tru}`, `{"a":"x}`, `{"a":"\x"}`, `{"a":"\u12g4"}`, "{\"a\":\"\x00\"}", "{\"a\":\"line\nbreak\"}",
		"{\"a\":\"\xff\"}", "{\"a\":\"long enough to use words \xc3(\"}", "{\"a\\n\xff\":1}", `{"a":[1,]}`, `{"a":1e999}`, `{"a":-` + strings.Repeat("9", 400) + `}`, `{"a":[1}`, `{"a":1}{`, `{"a":1} x`, deep,
	} {
		var d flatjson.Decoder
		if _, err := d.Decode([]byte(in), nil); err == nil {
			t.Errorf("%q is accepted", in)
		}
	}
}

// A decoder that knows the paths of an event does not allocate.
func TestDecodeDoesNotAllocate(t *testing.T) {
	raw := []byte(`{"agent_id":"a","process":{"name":"/bin/sh","pid":12},"tags":["x","y"]}`)
	var d flatjson.Decoder
	leaves, _, _ := d.Leaves(raw, nil)
	if n := testing.AllocsPerRun(100, func() { leaves, _, _ = d.Leaves(raw, leaves[:0]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// An unbounded number of member names takes a bounded amount of memory.
func TestPathMemory(t *testing.T) {
	var d flatjson.Decoder
	made := 0
	d.OnPath = func(*flatjson.Path) { made++ }
	for i := range 1 << 17 {
		if _, _, err := d.Leaves(fmt.Appendf(nil, `{"k%d":1}`, i), nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := d.Leaves([]byte(`{"k0":1}`), nil); err != nil || made < 1<<17+1 {
		t.Errorf("%d paths made, %v: the first should have been forgotten", made, err)
	}
}

// flatten is the obvious way, by encoding/json.
func flatten(path []string, v any, out map[string][]string) {
	name := strings.Join(path, ".")
	switch v := v.(type) {
	case map[string]any:
		for k, m := range v {
			flatten(append(path[:len(path):len(path)], k), m, out)
		}
	case []any:
		for _, m := range v {
			flatten(path, m, out)
		}
	case nil:
		out[name] = append(out[name], "")
	default:
		out[name] = append(out[name], fmt.Sprint(v))
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{"a":{"b":[1,"x",null,true]}}`, `{"a":"\u00e4\ud83d\ude00\\","b":-1.5e3}`, `{"":{"":1}}`, `{"a":1,"a":{"b":2}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var d flatjson.Decoder
		fields, err := d.Decode(in, nil)
		dec := json.NewDecoder(strings.NewReader(string(in)))
		dec.UseNumber()
		var want map[string]any
		jsonErr := json.Unmarshal(in, &want)
		if err == nil && jsonErr != nil {
			t.Fatalf("accepted what encoding/json refuses: %q: %v", in, jsonErr)
		}
		if err != nil {
			if jsonErr == nil && want != nil && utf8.Valid(in) && len(in) < flatjson.MaxPathBytes && strings.Count(string(in), "{")+strings.Count(string(in), "[") < flatjson.MaxDepth {
				t.Fatalf("refused what encoding/json accepts: %q: %v", in, err)
			}
			return
		}
		if err := dec.Decode(&want); err != nil {
			t.Skip() // a number outside float64
		}
		out := make(map[string][]string)
		flatten(nil, want, out)
		got := make(map[string]string)
		for _, fl := range fields {
			got[fl.Name] = fl.Value.Text
		}
		for name, values := range out {
			if _, ok := got[name]; !ok {
				t.Fatalf("%q: no field %q (%q)", in, name, values)
			}
		}
	})
}

func BenchmarkLeaves(b *testing.B) {
	raw := []byte(`{"EventID":1,"Channel":"Microsoft-Windows-Sysmon/Operational","Hostname":"WORKSTATION5.theshire.local","Image":"C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe","CommandLine":"powershell -nop -w hidden -enc aQBlAHgA","ParentImage":"C:\\Windows\\explorer.exe","User":"THESHIRE\\pgustavo","ProcessId":"3188","EventTime":"2020-09-04 16:09:38","Keywords":-9214364837600034816}`)
	var d flatjson.Decoder
	leaves, _, _ := d.Leaves(raw, nil)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		leaves, _, _ = d.Leaves(raw, leaves[:0])
	}
}
