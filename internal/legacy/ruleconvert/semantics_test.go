package ruleconvert_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"testing/fstest"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/legacy/ruleconvert"
	"github.com/picket-edr/picket/internal/ruleset"
)

// engine converts a rule and compiles the result.
func engine(t testing.TB, rule map[string]any) *detect.Detector {
	t.Helper()
	data, err := json.Marshal(rule)
	if err != nil {
		t.Fatal(err)
	}
	rules, errs := ruleconvert.ConvertJSON(data)
	if len(errs) > 0 {
		t.Fatalf("%s\n%v", data, errs)
	}
	set, err := ruleset.Load([]ruleset.Source{{Name: "converted", FS: fstest.MapFS{"rule.yml": {Data: rules[0].YAML}}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Problems) > 0 {
		t.Fatalf("%s\n%s\n%v", data, rules[0].YAML, set.Problems)
	}
	for _, r := range set.Rules.Rules() {
		if len(r.Warnings) > 0 {
			t.Fatalf("%s\n%v", rules[0].YAML, r.Warnings)
		}
	}
	return detect.NewEngine(set.Rules, nil).NewDetector()
}

// agree fails where the old rule and the converted one differ on an event.
func agree(t testing.TB, rule map[string]any, events []map[string]any) (fired int) {
	t.Helper()
	d := engine(t, rule)
	for _, e := range events {
		raw, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		matches, err := d.Detect([]picket.Event{{ID: "e", Raw: raw}})
		if err != nil {
			t.Fatal(err)
		}
		want := oldFires(rule, e)
		if want {
			fired++
		}
		if got := len(matches); got > 1 || want != (got == 1) {
			data, _ := json.MarshalIndent(rule, "", " ")
			rules, _ := ruleconvert.ConvertJSON(data)
			t.Fatalf("the old rule fires: %t, the new: %d times\n%s\n%s\n%s", want, got, raw, data, rules[0].YAML)
		}
	}
	return fired
}

func ruleOf(entity, logic string, conditions, exceptions []any) map[string]any {
	return map[string]any{
		"rule_id": "R-1", "name": "Rule", "severity": "HIGH", "deployment_status": "PRODUCTION", "enabled": true,
		"detection_logic": map[string]any{"entity_type": entity, "conditions": conditions, "logic": logic}, "exceptions": exceptions,
	}
}

func event(entity string, group map[string]any) map[string]any {
	return map[string]any{
		"agent_id": "PC1", "event_id": "e", "event_type": entity, "timestamp": 1_700_000_000.0, "severity": "info", "version": "1.0",
		"host": map[string]any{"hostname": "PC1", "os": "Windows"}, entity: group,
	}
}

// words are what made values are put together of: what has a meaning in Sigma
// or YAML, and parts of each other.
var words = []string{
	"", `\`, `\\`, `*`, `?`, `\*`, `\\?`, "a", "A", "ab", "aB", "cmd.exe", `C:\Temp\`, `\\srv\share`, "%", "'", `"`, ": ", " #", "- ", "-enc", "{", "}", "[",
	"&", "!", "|", ">", "~", "null", "true", "yes", "1", "80", "8080", "0x10", "1e3", "\n", "\t", "\r\n", "\x00", "\x7f", "é", "É", "日本", "\u2028", "\u0085", " ", "😀",
}

var fieldsOf = map[string][]string{
	"process": {"process.name", "process.command_line", "process.user", "process.parent_image", "process.pid", "process.action", "host.hostname", "agent_id", "process.new_field"},
	"file":    {"file.path", "file.process_image", "file.operation", "file.size"},
	"network": {"network.dest_ip", "network.dest_port", "network.source_port", "network.protocol", "network.image"},
}

// numeric are the fields that hold numbers, or their text.
var numeric = map[string][]string{
	"process": {"process.pid"}, "file": {"file.size"}, "network": {"network.dest_port", "network.source_port"},
}

var regexes = []string{`a`, `^a`, `b$`, `\\`, `[A-Z]:\\`, `(?i)AB`, `a.*b`, `(cmd|a)\.exe`, `a{2,}`, `^.{3,}$`, `[]a]+b`, `[^]a]`, `\.`, `\d+`, `x*`}

// makers of random rules and events; r decides.
func makeText(r *rand.Rand, ascii bool) string {
	s := ""
	for range r.IntN(4) {
		w := words[r.IntN(len(words))]
		for _, c := range w {
			if ascii && c > 127 {
				w = "z"
			}
		}
		s += w
	}
	return s
}

func makeCondition(r *rand.Rand, entity string) map[string]any {
	fields := fieldsOf[entity]
	c := map[string]any{"field": fields[r.IntN(len(fields))]}
	cased := true
	if r.IntN(2) == 0 {
		cased = r.IntN(2) == 0
		c["case_sensitive"] = cased
	}
	operators := []string{
		"equals", "not_equals", "contains", "not_contains", "contains_any", "contains_all", "starts_with", "ends_with", "regex", "greater_than", "less_than", "in_list",
	}
	op := operators[r.IntN(len(operators))]
	c["operator"] = op
	switch op {
	case "contains_any", "contains_all", "in_list":
		var values []any
		for range 1 + r.IntN(3) {
			values = append(values, makeText(r, !cased))
		}
		c["values"] = values
	case "regex":
		c["value"] = regexes[r.IntN(len(regexes))]
	case "greater_than", "less_than":
		c["field"] = numeric[entity][r.IntN(len(numeric[entity]))]
		c["value"] = []any{80.0, "80", 8080.5, -1.0, 0.0, " 443 ", "1e2"}[r.IntN(7)]
	default:
		c["value"] = makeText(r, !cased)
		if (op == "equals" || op == "not_equals") && r.IntN(3) == 0 {
			c["value"] = float64([]int{80, 8080, 0, -5}[r.IntN(4)])
		}
	}
	return c
}

func makeEvent(r *rand.Rand, entity string, ascii bool) map[string]any {
	group := map[string]any{}
	e := event(entity, group)
	for _, f := range fieldsOf[entity] {
		name := f[len(entity)+1:]
		if f[:len(entity)] != entity || r.IntN(4) == 0 {
			continue
		}
		switch {
		case name == "operation":
			group[name] = []any{"created", "deleted"}[r.IntN(2)]
		case name == "action":
			group[name] = "created"
		case r.IntN(10) == 0:
			group[name] = nil
		case name == "pid" || name == "size" || name == "dest_port" || name == "source_port":
			n := []int{0, 1, 79, 80, 81, 443, 8080, 8081, 65535}[r.IntN(9)]
			if group[name] = float64(n); r.IntN(4) == 0 {
				group[name] = strconv.Itoa(n)
			}
		default:
			group[name] = makeText(r, ascii)
		}
	}
	return e
}

func checkMade(t testing.TB, seed uint64) (fired, all int) {
	r := rand.New(rand.NewPCG(seed, 1))
	entity := []string{"process", "file", "network"}[r.IntN(3)]
	var conditions, exceptions []any
	ascii := false
	add := func(to *[]any, n int) {
		for range n {
			c := makeCondition(r, entity)
			// Beyond ASCII, no two systems mean the same by case.
			ascii = ascii || c["case_sensitive"] == false
			*to = append(*to, c)
		}
	}
	add(&conditions, 1+r.IntN(3))
	add(&exceptions, r.IntN(3))
	rule := ruleOf(entity, []string{"AND", "OR"}[r.IntN(2)], conditions, exceptions)
	var events []map[string]any
	for range 30 {
		events = append(events, makeEvent(r, entity, ascii))
		if r.IntN(2) == 0 { // the values of the rule itself, and something around them
			c := conditions[r.IntN(len(conditions))].(map[string]any)
			value, _ := c["value"].(string)
			if list, ok := c["values"].([]any); ok {
				value = fmt.Sprint(list...)
			}
			group := events[len(events)-1][entity].(map[string]any)
			if f := c["field"].(string); len(f) > len(entity) && f[:len(entity)] == entity && f != "file.operation" && f != "process.action" && !slices.Contains(numeric[entity], f) {
				group[f[len(entity)+1:]] = value + []string{"", "x"}[r.IntN(2)]
			}
		}
	}
	events = append(events, event("file", map[string]any{"path": "a", "operation": "created"}), event("process", map[string]any{"name": "a", "action": "created"}))
	return agree(t, rule, events), len(events)
}

// Generated legacy rules and their conversions match the same generated events.
func TestGeneratedRules(t *testing.T) {
	fired, all := 0, 0
	n := uint64(1000)
	if testing.Short() {
		n = 200
	}
	for seed := range n {
		f, a := checkMade(t, seed)
		fired, all = fired+f, all+a
	}
	if share := float64(fired) / float64(all); share < 0.1 || share > 0.9 {
		t.Errorf("%d of %d fired: this test tests little", fired, all)
	}
}

func FuzzGeneratedRules(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { checkMade(t, seed) })
}

// FuzzValue takes any text as the value of every operator, and any as the
// event's.
func FuzzValue(f *testing.F) {
	for _, w := range words {
		f.Add(w, "x"+w, true)
		f.Add(w+`\`, w, false)
	}
	f.Fuzz(func(t *testing.T, value, has string, cased bool) {
		for _, s := range []string{value, has} {
			for _, c := range s {
				if !cased && c > 127 || c == 0xFFFD {
					t.Skip("case beyond ASCII, or no UTF-8")
				}
			}
		}
		for op := range map[string]int{"equals": 0, "not_equals": 0, "contains": 0, "not_contains": 0, "contains_any": 1, "contains_all": 1, "starts_with": 0, "ends_with": 0, "in_list": 1} {
			c := map[string]any{"field": "process.name", "operator": op, "value": value, "values": []any{value, "b"}, "case_sensitive": cased}
			agree(t, ruleOf("process", "AND", []any{c}, nil), []map[string]any{
				event("process", map[string]any{"name": has}), event("process", map[string]any{"name": value}), event("process", map[string]any{"name": "b" + value + has}),
			})
		}
	})
}
