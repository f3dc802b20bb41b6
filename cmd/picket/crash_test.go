package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/testenv"
)

// rounds returns how often a test repeats a failure: n times, PICKET_TEST_ROUNDS
// times as often, or at most 3 times with -short.
func rounds(t *testing.T, n int) int {
	t.Helper()
	if text := os.Getenv("PICKET_TEST_ROUNDS"); text != "" {
		factor, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("PICKET_TEST_ROUNDS: %v", err)
		}
		return n * factor
	}
	if testing.Short() {
		return min(n, 3)
	}
	return n
}

// randomDelay sleeps for up to 60 ms, so that the next failure comes at an
// unpredictable point.
func randomDelay() { time.Sleep(rand.N(60 * time.Millisecond)) }

// The server is killed repeatedly while clients post. Every acknowledged event is
// stored once.
func TestKillServer(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"queue": nil, "eager": {"--eager"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newTestCluster(t, args...)
			c.startServer()
			l := startLoad(c, loadOptions{})
			for range rounds(t, 10) {
				l.waitForBatches(10)
				randomDelay()
				c.server.kill()
				c.startServer()
			}
			l.waitForBatches(10)
			l.stop()
			l.check()
		})
	}
}

// correlationRule is a correlation over the matches of firstAlertRule, and
// correlationID its id.
const (
	correlationID   = "00000000-0000-4000-8000-00000000000a"
	correlationRule = "title: Many\nid: " + correlationID + "\ncorrelation: {type: event_count, rules: [" + firstAlertRule + "], generate: true, " +
		"group-by: [Computer], timespan: 1m, condition: {gte: 2}}\n"
)

// writeCorrelation writes correlationRule to a new directory.
func writeCorrelation(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	testenv.Check(t, os.WriteFile(filepath.Join(dir, "correlation.yml"), []byte(correlationRule), 0o600))
	return dir
}

// The server is killed repeatedly while a correlation runs. It lists each event
// once, in one alert per host.
func TestKillCorrelating(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, "--rules", "builtin", "--rules", writeCorrelation(t))
	c.startServer()
	l := startLoad(c, loadOptions{})
	for range rounds(t, 6) {
		l.waitForBatches(10)
		randomDelay()
		c.server.kill()
		c.startServer()
	}
	l.waitForBatches(10)
	l.stop()
	l.check()
	l.checkCorrelation()
}

// A server that gets SIGTERM under load exits with status 0, and no event is
// lost.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	c.startServer()
	l := startLoad(c, loadOptions{})
	for range rounds(t, 4) {
		l.waitForBatches(20)
		randomDelay()
		if err := c.server.stop(); err != nil {
			t.Fatal(err)
		}
		c.startServer()
	}
	l.waitForBatches(10)
	l.stop()
	l.check()
}

// Worker processes serve a server that has no workers of its own. When one is
// killed, the next one receives its batches.
func TestKillWorker(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, "--workers", "0")
	c.startServer()
	l := startLoad(c, loadOptions{})
	var stored string
	last := rounds(t, 6) - 1
	for n := range last + 1 {
		p := c.startWorker(c.data, "--data", ".")
		testenv.Until(t, "more events stored", func() bool {
			v, _ := metric(l.get("/metrics"), `picket_events_total{outcome="stored"}`)
			defer func() { stored = v }()
			return v != stored && n > 0 || v != "0" && v != stored
		})
		randomDelay()
		if n == last {
			l.stop()
			l.waitUntilEmpty()
			c.stopWorkers(p)
			break
		}
		p.kill()
		l.waitForBatches(5)
	}
	l.check()
}

// Rule files are added, changed, broken and removed under load. The rules are
// reloaded, and no event is lost.
func TestReloadRules(t *testing.T) {
	t.Parallel()
	rules := t.TempDir()
	c := newTestCluster(t, "--rules", "builtin", "--rules", rules)
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
	c.startServer()
	l := startLoad(c, loadOptions{pause: 20 * time.Millisecond})
	probes := 0
	// match posts an event and returns the rules that match it.
	match := func(word string) (ids string) {
		probes++
		event := fmt.Sprintf("probe-%d", probes)
		l.mu.Lock()
		l.sent[event] = false
		l.mu.Unlock()
		testenv.Until(t, "the event is accepted", func() bool { return l.post([]byte(eventJSON(event, "probe", word))) })
		testenv.Until(t, "the event is stored", func() bool {
			n := 0
			l.getAll("/api/v1/events?q=event_id="+event+"&", "events", func(map[string]any) { n++ })
			return n == 1
		})
		l.getAll("/api/v1/matches?event_id="+event+"&", "matches", func(row map[string]any) { ids += row["rule_id"].(string) })
		return ids
	}
	if got := match("word-of-one"); got != one {
		t.Fatalf("rules %q match, want the first", got)
	}
	write("two.yml", rule(two, "word-of-two"))
	testenv.Until(t, "the new rule matches", func() bool { return match("word-of-two") == two })
	write("two.yml", rule(two, "another-word"))
	testenv.Until(t, "the changed rule matches", func() bool { return match("another-word") == two && match("word-of-two") == "" })
	write("two.yml", "title: broken\ndetection: {condition: nothing}\n")
	testenv.Until(t, "the broken rule is reported", func() bool {
		v, _ := metric(l.get("/metrics"), "picket_rule_problems")
		return v == "1"
	})
	// The last version of the file that was good stays.
	if got := match("another-word") + match("word-of-one"); got != two+one {
		t.Errorf("beside a broken rule, rules %q match", got)
	}
	if err := os.Remove(filepath.Join(rules, "one.yml")); err != nil {
		t.Fatal(err)
	}
	testenv.Until(t, "the removed rule does not match", func() bool { return match("word-of-one") == "" })
	l.stop()
	l.check()
}
