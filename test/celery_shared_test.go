package test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/testenv"
)

// picket and Python workers share a broker. Each runs the tasks that it has
// registered.
func TestCelerySharedBroker(t *testing.T) {
	eachCelery(t, func(t *testing.T, f *celeryFixture) {
		py := f.shell(t)
		is := func(want, format string, args ...any) { t.Helper(); py.is(t, want, format, args...) }
		f.worker(t, py)

		// From a queue that both consume, picket leaves unregistered tasks to the
		// other worker, and they do not delay the tasks behind them.
		queue, workers := "celery", 2
		if *consumer == "picket" {
			queue, workers = "picket", 3
			// Having seen another worker, picket waits minutes for one that knows the
			// tasks, however long that takes to start.
			f.pythonWorker(t, "elsewhere", "--queues", "elsewhere", "--concurrency", "1")
			py.nodes(t, 2)
			py.eval(t, `(sums := [add.delay(i, 1) for i in range(30)], tries := flaky.delay(2), urgent := add.apply_async([1, 1], priority=0))`)
			is(successMeta("behind"), `telemetry_ingest.delay(event("behind")).get(timeout=TIMEOUT)`)
			is(`true`, `all(r.state == "PENDING" for r in sums + [tries, urgent])`)
			py.eval(t, `(more := [add.delay(i, 2) for i in range(30)], ids := ingest_many(200, "between"))`)
			testenv.Until(t, "picket's tasks are done", func() bool { return py.eval(t, "len(done(ids))") == "200" })
			is(`[62, 0]`, `[server.llen("celery"), server.hlen("unacked")]`)
		} else {
			py.eval(t, `(sums := [add.delay(i, 1) for i in range(30)], tries := flaky.delay(2), more := [])`)
		}
		f.pythonWorker(t, "other", "--concurrency", "1")
		py.nodes(t, workers)
		is(`[1, 2, 3]`, `[r.get(timeout=TIMEOUT) for r in sums][:3]`)
		is(`2`, `tries.get(timeout=TIMEOUT)`)
		is(`true`, `all(r.get(timeout=TIMEOUT) for r in more)`)

		// picket runs the last task of a chain. A task after which others are to run, it
		// refuses before anything is lost, and whoever waits for the last gets the reason.
		is(successMeta("from-python"), `chain(add.si(1, 2), telemetry_ingest.si(event("from-python")).set(queue=%q))().get(timeout=TIMEOUT)`, queue)
		chained := fmt.Sprintf(`chain(telemetry_ingest.s(event("chained")).set(queue=%q), event_id.s())().get(timeout=TIMEOUT)`, queue)
		linked := fmt.Sprintf(`telemetry_ingest.apply_async([event("linked")], queue=%q, link=event_id.s()).get(timeout=TIMEOUT)`, queue)
		withErrback := fmt.Sprintf(`telemetry_ingest.apply_async([event("errback")], queue=%q, link_error=failed.s()).get(timeout=TIMEOUT)`, queue)
		inChord := fmt.Sprintf(`chord([telemetry_ingest.s(event(f"c-{i}")).set(queue=%q) for i in range(5)])(event_ids.s()).get(timeout=TIMEOUT)`, queue)
		if *consumer == "python" {
			is(`"chained"`, "%s", chained)
			is(successMeta("linked"), "%s", linked)
			is(successMeta("errback"), "%s", withErrback)
			is(`["c-0", "c-1", "c-2", "c-3", "c-4"]`, "%s", inChord)
			return
		}
		for kind, sent := range map[string]string{"chain": chained, "callbacks": linked, "errbacks": withErrback, "chord": inChord} {
			py.raises(t, "NotImplementedError", "the task has "+kind+";", "%s", sent)
		}
	})
}

// The workers in picket serve run the tasks of its intake and those of Python.
func TestCeleryServe(t *testing.T) {
	if *consumer == "python" {
		t.Skip("tests picket only")
	}
	eachCelery(t, func(t *testing.T, f *celeryFixture) {
		py := f.shell(t)
		s := start(t, "--queue", f.queue(), "--workers", "1")
		py.nodes(t, 1)
		py.is(t, successMeta("from-python"), `telemetry_ingest.delay(event("from-python")).get(timeout=TIMEOUT)`)
		s.post(t, attackEvents()...)
		var stats struct {
			TotalEvents int `json:"total_events"`
		}
		if s.get(t, "/api/v1/dashboard/stats/", &stats); stats.TotalEvents != len(attackEvents())+1 {
			t.Errorf("%d events are stored, want %d", stats.TotalEvents, len(attackEvents())+1)
		}
		py.is(t, "1", `telemetry_ingest.delay(event("attack", **attack)).get(timeout=TIMEOUT)["alerts_created"]`)
		py.is(t, fmt.Sprint(len(attackEvents())+2), `sum(list(s["total"].values())[0] for s in app.control.inspect().stats().values())`)
	})
}

// A Python worker runs the tasks of picket's intake.
func TestCeleryPythonWorker(t *testing.T) {
	if *consumer == "python" {
		t.Skip("tests picket only")
	}
	eachCelery(t, func(t *testing.T, f *celeryFixture) {
		f.seen = "seen"
		py := f.shell(t)
		worker := f.pythonWorker(t, "python", "--concurrency", "1")
		py.nodes(t, 1)
		s := start(t, "--queue", f.queue(), "--workers", "0")
		s.post(t,
			map[string]any{
				"agent_id": "PC1", "event_id": "native", "event_type": "process", "timestamp": 1700000000, "severity": "info", "version": "1.0",
				"host":    map[string]any{"hostname": "PC1", "os": "Windows", "os_version": "11"},
				"process": map[string]any{"name": "x.exe", "pid": 9, "command_line": "x --ünï"},
			},
			map[string]any{
				"@timestamp": "2024-05-01T10:00:00.000Z", "host": map[string]any{"name": "PC2"}, "event": map[string]any{"code": "1"},
				"winlog": map[string]any{
					"channel": "Microsoft-Windows-Sysmon/Operational", "event_id": "1", "computer_name": "PC2",
					"event_data": map[string]any{"Image": `C:\a.exe`, "CommandLine": "a.exe /b"},
				},
			})
		var seen []struct {
			EventID   string `json:"event_id"`
			AgentID   string `json:"agent_id"`
			EventType string `json:"event_type"`
			Timestamp any
			Severity  string
			Process   map[string]any
			Winlog    map[string]any
		}
		testenv.Until(t, "the Python worker has run both", func() bool {
			py.into(t, &seen, `[json.loads(e) for e in server.lrange(seen, 0, -1)]`)
			return len(seen) == 2
		})
		native, winlogbeat := seen[0], seen[1]
		if native.EventID != "native" {
			native, winlogbeat = winlogbeat, native
		}
		if native.EventID != "native" || native.AgentID != "PC1" || native.EventType != "process" || native.Timestamp != 1700000000.0 || native.Severity != "info" ||
			native.Process["command_line"] != "x --ünï" {
			t.Errorf("the Python worker got the native event as %+v", native)
		}
		if winlogbeat.EventID == "" || winlogbeat.AgentID != "PC2" || winlogbeat.EventType == "" || winlogbeat.Timestamp == nil || winlogbeat.Severity == "" || winlogbeat.Winlog == nil {
			t.Errorf("the Python worker got the Winlogbeat event as %+v", winlogbeat)
		}
		if log := worker.output.String(); strings.Contains(log, "ERROR") {
			t.Errorf("the Python worker logs\n%s", log)
		}
	})
}

// Tasks that picket cannot read, or does not accept, become dead letters with a
// cause.
func TestCeleryDeadLetters(t *testing.T) {
	if *consumer == "python" {
		t.Skip("a Python worker has no dead letters")
	}
	eachCelery(t, func(t *testing.T, f *celeryFixture) {
		py := f.shell(t)
		f.worker(t, py)
		causes := map[string]string{"pickle": "pickle", "yaml": "YAML", "msgpack": "msgpack"}
		for name := range causes {
			py.eval(t, `telemetry_ingest.apply_async([event(%q)], serializer=%[1]q)`, name)
		}
		causes["v1"] = "protocol"
		py.eval(t, `Celery("old", broker=url, set_as_current=False, task_protocol=1).send_task(%q, [event("v1")], queue="picket")`, ingest)
		causes["nonsense"] = "JSON"
		py.eval(t, `server.lpush("picket", "nonsense")`)
		causes["invalid"] = "agent_id"
		py.raises(t, "ValueError", "agent_id", `telemetry_ingest.delay({"event_id": "invalid", "event_type": "process"}).get(timeout=TIMEOUT)`)
		causes["unknown"] = "nobody.knows"
		py.raises(t, "NotRegistered", "nobody.knows", `app.send_task("nobody.knows", queue="picket").get(timeout=TIMEOUT)`)

		testenv.Until(t, "there is a dead letter for each", func() bool {
			out, err := exec.Command(binary(t), "queue", "stats", "--json", "--data", f.data, "--queue", f.queue()).CombinedOutput()
			if err != nil {
				t.Fatalf("picket queue stats: %v: %s", err, out)
			}
			var stats struct{ Dead int }
			if err := json.Unmarshal(out, &stats); err != nil {
				t.Fatal(err)
			}
			return stats.Dead >= len(causes)
		})
		out, err := exec.Command(binary(t), "queue", "dead", "--data", f.data, "--queue", f.queue()).CombinedOutput()
		if err != nil {
			t.Fatalf("picket queue dead: %v: %s", err, out)
		}
		list := string(out)
		for what, cause := range causes {
			if !strings.Contains(list, cause) {
				t.Errorf("picket queue dead has no cause with %q for the %s message:\n%s", cause, what, list)
			}
		}
		if got := py.eval(t, `telemetry_ingest.delay(event("well")).get(timeout=TIMEOUT)`); got != successMeta("well") {
			t.Errorf("the next task returns %s", got)
		}
	})
}
