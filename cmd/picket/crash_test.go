package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/testenv"
)

// rounds is how often something is killed, less with -short.
func rounds(n int) int {
	if testing.Short() {
		return min(n, 3)
	}
	return n
}

// randomDelay waits for any short time, so that what follows comes at a moment
// that nothing foresees.
func randomDelay() { time.Sleep(rand.N(60 * time.Millisecond)) }

// The server is killed again and again while clients post: what it answered
// for is there in the end, all of it, and once.
func TestKillServer(t *testing.T) {
	for name, args := range map[string][]string{"queue": nil, "eager": {"--eager"}} {
		t.Run(name, func(t *testing.T) {
			f := newTestCluster(t, args...)
			f.startServer()
			l := startLoad(f)
			for range rounds(10) {
				l.waitForBatches(10)
				randomDelay()
				f.server.kill()
				f.startServer()
			}
			l.waitForBatches(10)
			l.stop()
			l.check()
		})
	}
}

// manyRule is a correlation over what fires in a load, and many its id.
const (
	many     = "00000000-0000-4000-8000-00000000000a"
	manyRule = "title: Many\nid: " + many + "\ncorrelation: {type: event_count, rules: [" + firstAlert + "], generate: true, " +
		"group-by: [Computer], timespan: 1m, condition: {gte: 2}}\n"
)

// A correlation over events that come while the server is killed again and
// again lists each of them once, in one alert a host.
func TestKillCorrelating(t *testing.T) {
	rules := t.TempDir()
	if err := os.WriteFile(filepath.Join(rules, "many.yml"), []byte(manyRule), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newTestCluster(t, "--rules", "builtin", "--rules", rules)
	f.startServer()
	l := startLoad(f)
	for range rounds(6) {
		l.waitForBatches(10)
		randomDelay()
		f.server.kill()
		f.startServer()
	}
	l.waitForBatches(10)
	l.stop()
	l.check()
	l.checkMany()
}

// A server that is asked to stop under load answers what it has in hand, ends
// well and in time, and loses nothing.
func TestStopUnderLoad(t *testing.T) {
	f := newTestCluster(t)
	f.startServer()
	l := startLoad(f)
	for range rounds(4) {
		l.waitForBatches(20)
		randomDelay()
		if err := f.server.stop(); err != nil {
			t.Fatal(err)
		}
		f.startServer()
	}
	l.waitForBatches(10)
	l.stop()
	l.check()
}

// Workers in a process of their own do the work of a server without any, and
// what one that is killed had in hand goes to the next.
func TestKillWorker(t *testing.T) {
	f := newTestCluster(t, "--workers", "0")
	f.startServer()
	l := startLoad(f)
	var stored string
	for n := range rounds(6) {
		p, _, err := start(f.data, "worker", "--data", ".", "--concurrency", "2")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.kill)
		testenv.Until(t, "more events stored", func() bool {
			v, _ := metric(l.get("/metrics"), `picket_events_total{outcome="stored"}`)
			defer func() { stored = v }()
			return v != stored && n > 0 || v != "0" && v != stored
		})
		randomDelay()
		if n == rounds(6)-1 {
			l.stop()
			l.waitUntilEmpty()
			if err := p.stop(); err != nil {
				t.Error(err)
			}
			break
		}
		p.kill()
		l.waitForBatches(5)
	}
	l.check()
}

// Rules that are added, changed, broken and removed under load are in force
// within seconds, and no event is lost over it.
func TestReload(t *testing.T) {
	rules := t.TempDir()
	f := newTestCluster(t, "--rules", "builtin", "--rules", rules)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(rules, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rule := func(id, word string) string {
		return fmt.Sprintf("title: %s\nid: %s\nlogsource: {product: linux, category: process_creation}\ndetection: {a: {CommandLine|contains: %s}, condition: a}\nlevel: high\n", word, id, word)
	}
	const one, two = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
	write("one.yml", rule(one, "word-of-one"))
	f.startServer()
	l := startLoad(f)
	probes := 0
	// fired posts an event and returns which rule fires on it.
	fired := func(word string) (id string) {
		probes++
		event := fmt.Sprintf("probe-%d", probes)
		l.mu.Lock()
		l.sent[event] = false
		l.mu.Unlock()
		testenv.Until(t, "the probe is taken", func() bool { return l.post([]byte(eventJSON(event, "probe", word))) })
		testenv.Until(t, "the probe is stored", func() bool {
			n := 0
			l.getAll("/api/v1/events?q=event_id="+event+"&", "events", func(map[string]any) { n++ })
			return n == 1
		})
		l.getAll("/api/v1/matches?event_id="+event+"&", "matches", func(row map[string]any) { id += row["rule_id"].(string) })
		return id
	}
	if got := fired("word-of-one"); got != one {
		t.Fatalf("the first rule does not fire: %q", got)
	}
	write("two.yml", rule(two, "word-of-two"))
	testenv.Until(t, "the rule that was added fires", func() bool { return fired("word-of-two") == two })
	write("two.yml", rule(two, "another-word"))
	testenv.Until(t, "the rule that was changed fires", func() bool { return fired("another-word") == two && fired("word-of-two") == "" })
	write("two.yml", "title: broken\ndetection: {condition: nothing}\n")
	testenv.Until(t, "the rule that was broken is reported", func() bool {
		v, _ := metric(l.get("/metrics"), "picket_rule_problems")
		return v == "1"
	})
	if got := fired("another-word") + fired("word-of-one"); got != one {
		t.Errorf("beside a rule that was broken, %q fire", got)
	}
	if err := os.Remove(filepath.Join(rules, "one.yml")); err != nil {
		t.Fatal(err)
	}
	testenv.Until(t, "the rule that was removed is silent", func() bool { return fired("word-of-one") == "" })
	l.stop()
	l.check()
}
