package detect_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/detect/detecttest"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/ast"
)

func TestDetect(t *testing.T) {
	d := detecttest.Engine(t, detecttest.RuleMatching(detecttest.RuleIDOne, "one")+"---\n"+detecttest.RuleMatching(detecttest.RuleIDTwo, "two")).NewDetector()
	when := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	events := []picket.Event{detecttest.ProcessEvent("a", "nothing"), detecttest.ProcessEvent("b", "two and one"), detecttest.ProcessEvent("c", "one")}
	events[2].Time = when
	matches, err := d.Detect(events)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range matches {
		if m.ID != picket.MatchID(m.RuleID, m.EventID) || m.AgentID != "agent" || m.Host != "host" || m.Level != sigma.High {
			t.Errorf("match is %+v", m)
		}
		got = append(got, fmt.Sprintln(m.EventID, m.Title, m.Time.Format(time.RFC3339), m.Tags, m.Why))
	}
	want := []string{
		"b one 2025-11-24T16:00:00Z [attack.t1059] [{CommandLine two and one}]\n",
		"b two 2025-11-24T16:00:00Z [attack.t1059] [{CommandLine two and one}]\n",
		"c one 2026-01-02T03:04:05Z [attack.t1059] [{CommandLine one}]\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	// Each event has fields of its own, that appending to another's leaves alone.
	for _, ev := range events {
		if len(ev.Fields) == 0 || cap(ev.Fields) != len(ev.Fields) {
			t.Errorf("event %s has %d fields and room for %d", ev.ID, len(ev.Fields), cap(ev.Fields))
		}
	}
}

// An event that is not a JSON object is an error that contains its id, after which
// the detector works as before.
func TestDetectInvalidEvent(t *testing.T) {
	d := detecttest.Engine(t, detecttest.RuleMatching(detecttest.RuleIDOne, "one")).NewDetector()
	for _, raw := range []string{"", "[]", `{"a":`, `"text"`, "{}{}"} {
		_, err := d.Detect([]picket.Event{detecttest.ProcessEvent("good", "one"), {ID: "bad", Raw: []byte(raw)}})
		if err == nil || !strings.Contains(err.Error(), "event bad") {
			t.Errorf("%q: error is %v", raw, err)
		}
		if matches, err := d.Detect([]picket.Event{detecttest.ProcessEvent("good", "one")}); err != nil || len(matches) != 1 {
			t.Errorf("after %q: %v, %v", raw, matches, err)
		}
	}
	if matches, err := d.Detect(nil); err != nil || len(matches) != 0 {
		t.Errorf("of nothing: %v, %v", matches, err)
	}
}

// The rules are replaced between two batches of one detector.
func TestReplaceRules(t *testing.T) {
	e := detecttest.Engine(t, detecttest.RuleMatching(detecttest.RuleIDOne, "word"))
	d := e.NewDetector()
	for _, id := range []string{detecttest.RuleIDOne, detecttest.RuleIDTwo, detecttest.RuleIDOne} {
		e.ReplaceRules(detecttest.Engine(t, detecttest.RuleMatching(id, "word")).Rules())
		matches, err := d.Detect([]picket.Event{detecttest.ProcessEvent("a", "word")})
		if err != nil || len(matches) != 1 || matches[0].RuleID != id {
			t.Errorf("matches are %v, %v; want rule %s", matches, err, id)
		}
	}
}

// An alert of the sender becomes a match besides those of the rules.
func TestVendorAlert(t *testing.T) {
	raw := `{"uuid":"u1","output":"text","priority":"Warning","rule":"Terminal shell in container","time":"2026-01-02T03:04:05Z",` +
		`"hostname":"node","source":"syscall","tags":["container","shell"],"output_fields":{"evt.type":"execve","proc.cmdline":"sh one","proc.exepath":"/bin/sh"}}`
	d := detecttest.Engine(t, detecttest.RuleMatching(detecttest.RuleIDOne, "one")).NewDetector()
	matches, err := d.Detect([]picket.Event{{ID: "u1", Raw: []byte(raw)}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range matches {
		got = append(got, fmt.Sprint(m.RuleID, " ", m.Title, " ", m.Level, " ", m.Tags))
	}
	want := []string{detecttest.RuleIDOne + " one high [attack.t1059]",
		"falco:Terminal shell in container Terminal shell in container medium [falco.container falco.shell]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// The memory that a small batch uses does not depend on the largest batch before.
func TestSmallBatchAfterLarge(t *testing.T) {
	d := detecttest.Engine(t, detecttest.RuleMatching(detecttest.RuleIDOne, "one")).NewDetector()
	large := make([]picket.Event, 5000)
	for i := range large {
		large[i] = detecttest.ProcessEvent(fmt.Sprint(i), "ls")
	}
	if _, err := d.Detect(large); err != nil {
		t.Fatal(err)
	}
	small := []picket.Event{detecttest.ProcessEvent("a", "ls")}
	r := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if _, err := d.Detect(small); err != nil {
				b.Fatal(err)
			}
		}
	})
	if bytes := r.AllocedBytesPerOp(); bytes > 16<<10 {
		t.Errorf("one event takes %d bytes", bytes)
	}
}

// Events do not share the bytes that detection reads them from.
func TestDetectLeavesRaw(t *testing.T) {
	d := detecttest.Engine(t, detecttest.RuleMatching(detecttest.RuleIDOne, "one")).NewDetector()
	ev := detecttest.ProcessEvent("a", `one "quoted" \ é`)
	before := bytes.Clone(ev.Raw)
	if _, err := d.Detect([]picket.Event{ev}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, ev.Raw) {
		t.Errorf("%s became %s", before, ev.Raw)
	}
}

// Events with very many matches are not evaluated at once, and their evidence is cut.
func TestMatchesAreBounded(t *testing.T) {
	var rules strings.Builder
	for i := range 200 {
		rules.WriteString(strings.ReplaceAll(detecttest.RuleMatching(fmt.Sprintf("00000000-0000-4000-8000-%012d", i), "one"), "title: one", fmt.Sprint("title: one ", i)) + "---\n")
	}
	d := detecttest.Engine(t, strings.TrimSuffix(rules.String(), "---\n")).NewDetector()
	var events []picket.Event
	for i := range 100 {
		events = append(events, detecttest.ProcessEvent(fmt.Sprint(i), "one "+strings.Repeat("é", 4<<10)))
	}
	if _, err := d.Detect(events); !errors.Is(err, picket.ErrTooManyMatches) {
		t.Fatal(err)
	}
	matches, err := d.Detect(events[:1])
	if err != nil || len(matches) != 200 {
		t.Fatal(len(matches), err)
	}
	if v := matches[0].Why[0].Value; len(v) > 3<<10 || !strings.HasPrefix(v, "one é") || !utf8.ValidString(v) {
		t.Errorf("evidence of %d bytes", len(v))
	}
}

// An event of no known format is matched by the rules for what it declares. Its type may
// also come from where it was posted.
func TestDetectDeclaredLogSource(t *testing.T) {
	rule := func(id, source string) string {
		return "title: x\nid: " + id + "\nlogsource: {" + source + "}\ndetection: {s: {result: denied}, condition: s}\n"
	}
	d := detecttest.Engine(t, rule("category", "category: VPN_Login")+"---\n"+rule("service", "service: vpn_login")+"---\n"+
		rule("product", "product: okta, service: okta")+"---\n"+rule("other", "category: vpn")).NewDetector()
	matches, err := d.Detect([]picket.Event{
		{ID: "a", Raw: []byte(`{"event_type":"vpn_login","result":"denied"}`)},
		{ID: "b", Raw: []byte(`{"event_type":"okta","product":"Okta","result":"denied"}`)},
		{ID: "c", Type: "vpn", Raw: []byte(`{"result":"denied"}`)},
		{ID: "d", Raw: []byte(`{"event_type":"none","result":"denied"}`)},
	})
	testenv.Check(t, err)
	var got []string
	for _, m := range matches {
		got = append(got, m.EventID+" "+m.RuleID)
	}
	if diff := cmp.Diff([]string{"a category", "a service", "b product", "c other"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Made-up types do not fill the memory of a detector.
func TestDetectManyTypes(t *testing.T) {
	d := detecttest.Engine(t, detecttest.RuleMatching(detecttest.RuleIDOne, "one")).NewDetector()
	long := strings.Repeat("x", 100)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for n := range 500 {
		events := make([]picket.Event, 100)
		for i := range events {
			events[i] = picket.Event{ID: "e", Raw: fmt.Appendf(nil, `{"event_type":"%s%d-%d"}`, long, n, i)}
		}
		_, err := d.Detect(events)
		testenv.Check(t, err)
	}
	if after := heap(); after > before+6<<20 {
		t.Errorf("50,000 types take %d bytes", after-before)
	}
	runtime.KeepAlive(d)
}

// A filter can name the host that the intake determined. The event's fields, which are
// stored, do not have it, and an event cannot claim to be of another host.
func TestDetectHostField(t *testing.T) {
	filter := "---\ntitle: f\nlogsource: {category: process_creation}\nfilter: {rules: [" + detecttest.RuleIDOne + "], s: {picket.host: web-1}, condition: not s}\n"
	d := detecttest.Engine(t, detecttest.RuleMatching(detecttest.RuleIDOne, "one")+filter).NewDetector()
	events := []picket.Event{detecttest.ProcessEvent("a", "one"), detecttest.ProcessEvent("b", "one"), detecttest.ProcessEvent("c", "one")}
	events[0].Host, events[1].Host, events[2].Host = "WEB-1", "web-2", "web-3"
	events[2].Raw = append([]byte(`{"picket":{"host":"web-1"},`), bytes.TrimPrefix(events[2].Raw, []byte("{"))...)
	matches, err := d.Detect(events)
	testenv.Check(t, err)
	if len(matches) != 2 || matches[0].EventID != "b" || matches[1].EventID != "c" {
		t.Errorf("matches: %+v", matches)
	}
	for _, f := range append(events[0].Fields, events[1].Fields...) {
		if f.Name == "picket.host" {
			t.Error("the field is stored")
		}
	}
}

// A disabled rule of a sender raises no alert.
func TestDetectDisabledSenderRule(t *testing.T) {
	event := func(rule string) picket.Event {
		return picket.Event{ID: rule, Host: "h", Raw: []byte(`{"rule":"` + rule + `","priority":"Error","output_fields":{"proc.name":"sh"}}`)}
	}
	rules, _ := sigma.Compile(ast.Collection{}, sigma.Options{Disabled: map[string]bool{"falco:Terminal shell": true}})
	matches, err := detect.NewEngine(rules, nil).NewDetector().Detect([]picket.Event{event("Terminal shell"), event("Other")})
	testenv.Check(t, err)
	if len(matches) != 1 || matches[0].RuleID != "falco:Other" {
		t.Errorf("matches: %+v", matches)
	}
}
