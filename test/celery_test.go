package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/testenv"
)

// Producers of the legacy system get the results of their tasks from Celery as
// before.
func TestCeleryTasks(t *testing.T) {
	eachCelery(t, func(t *testing.T, f *celeryFixture) {
		py := f.shell(t)
		f.worker(t, py)
		is := func(want, format string, args ...any) { t.Helper(); py.is(t, want, format, args...) }

		is(successMeta("e-1"), `(r := telemetry_ingest.delay(event("e-1"))).get(timeout=TIMEOUT)`)
		is(`["SUCCESS", true, null]`, `[r.state, r.successful(), r.traceback]`)
		is(successMeta("e-1"), `telemetry_ingest.delay(event("e-1")).get(timeout=TIMEOUT)`) // again
		is(successMeta("named"), `telemetry_ingest.delay(data=event("named")).get(timeout=TIMEOUT)`)
		is(successMeta("own-id"), `(telemetry_ingest.apply_async([event("own-id")], task_id="chosen"), app.AsyncResult("chosen").get(timeout=TIMEOUT))[1]`)
		is(successMeta("by-name"), `app.send_task(%q, [event("by-name")]).get(timeout=TIMEOUT)`, ingest)
		is(successMeta("é-ü-日"), `telemetry_ingest.delay(event("é-ü-日")).get(timeout=TIMEOUT)`)
		is(successMeta("zlib"), `telemetry_ingest.apply_async([event("zlib")], compression="zlib").get(timeout=TIMEOUT)`)
		is(successMeta("typed"), `telemetry_ingest.delay(event("typed", process={"started": datetime.datetime.now(), "guid": uuid.uuid4(), "load": decimal.Decimal("0.5")})).get(timeout=TIMEOUT)`)
		is(successMeta("nan"), `telemetry_ingest.delay(event("nan", load=float("nan"))).get(timeout=TIMEOUT)`)
		is(successMeta("priority"), `telemetry_ingest.apply_async([event("priority")], priority=7).get(timeout=TIMEOUT)`)
		is(successMeta("retried"), `telemetry_ingest.apply_async([event("retried")], retries=2).get(timeout=TIMEOUT)`)
		is(successMeta("header"), `telemetry_ingest.apply_async([event("header")], headers={"tenant": "a"}, shadow="ingest").get(timeout=TIMEOUT)`)
		is(successMeta("in-time"), `telemetry_ingest.apply_async([event("in-time")], expires=60).get(timeout=TIMEOUT)`)
		is(successMeta("limited"), `telemetry_ingest.apply_async([event("limited")], time_limit=60, soft_time_limit=50).get(timeout=TIMEOUT)`)
		is("true", `86000 < server.ttl("celery-task-meta-chosen") <= 86400`)

		// The results of a group are in the order of its tasks.
		var members []string
		for i := range 20 {
			members = append(members, successMeta(fmt.Sprintf("g-%d", i)))
		}
		is("["+strings.Join(members, ", ")+"]", `group(telemetry_ingest.s(event(f"g-{i}")) for i in range(20))().get(timeout=TIMEOUT)`)

		// A countdown delays a task. A result that is ignored is not stored.
		is(successMeta("later"), `(sent := time.time(), r := telemetry_ingest.apply_async([event("later")], countdown=1.5), r.get(timeout=TIMEOUT))[2]`)
		var waited float64
		py.into(t, &waited, `r.date_done.replace(tzinfo=datetime.timezone.utc).timestamp() - sent`)
		if waited < 1.4 {
			t.Errorf("a task with a countdown of 1.5 s was done after %.3f s", waited)
		}
		py.eval(t, `(ignored := telemetry_ingest.apply_async([event("ignored")], ignore_result=True), telemetry_ingest.delay(event("after")).get(timeout=TIMEOUT))`)
		is("null", `server.get("celery-task-meta-" + ignored.id)`)

		// Failures have the class and the text of an exception.
		py.raises(t, "ValueError", "dict", `(r := telemetry_ingest.delay(3)).get(timeout=TIMEOUT)`)
		is(`["FAILURE", true]`, `[r.state, "ValueError" in str(r.traceback)]`)
		py.raises(t, "ValueError", "agent_id", `telemetry_ingest.delay({"event_id": "x", "event_type": "process"}).get(timeout=TIMEOUT)`)
		py.raises(t, "TaskRevokedError", "expired", `(r := telemetry_ingest.apply_async([event("late")], expires=datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc))).get(timeout=TIMEOUT)`)
		is(`"REVOKED"`, "r.state")
		queue := "picket"
		if *consumer == "python" {
			queue = "celery"
		}
		py.raises(t, "NotRegistered", "nobody.knows", `app.send_task("nobody.knows", queue=%q).get(timeout=TIMEOUT)`, queue)

		testenv.Until(t, "nothing is unacknowledged", func() bool {
			return py.eval(t, `server.hlen("unacked") + server.zcard("unacked_index") + server.llen("celery")`) == "0"
		})
	})
}

// successMeta is the result for an event of shell.py, in JSON as Python encodes
// it.
func successMeta(id string) string {
	var ascii strings.Builder
	for _, c := range id {
		if c < 0x80 {
			ascii.WriteRune(c)
		} else {
			fmt.Fprintf(&ascii, `\u%04x`, c)
		}
	}
	return fmt.Sprintf(`{"status": "success", "event_id": "%s", "event_type": "process", "alerts_created": 0}`, ascii.String())
}

// Tasks of a higher priority run first: 0 is the highest.
func TestCeleryPriorities(t *testing.T) {
	eachCelery(t, func(t *testing.T, f *celeryFixture) {
		py := f.shell(t)
		py.eval(t, `(low := ingest_many(400, "low", priority=9), high := ingest_many(20, "high", priority=0))`)
		f.worker(t, py)
		var late string
		testenv.Until(t, "all are done", func() bool {
			py.into(t, &late, `max(done(high)) if len(done(low)) == 400 and len(done(high)) == 20 else ""`)
			return late != ""
		})
		var before int
		py.into(t, &before, `sum(at < %q for at in done(low))`, late)
		if before > 200 {
			t.Errorf("%d of 400 tasks of priority 9 were done before 20 of priority 0", before)
		}
	})
}

// A revoked task does not run, whether it is revoked before or after the worker
// receives it.
func TestCeleryRevoke(t *testing.T) {
	eachCelery(t, func(t *testing.T, f *celeryFixture) {
		py := f.shell(t)
		_, node := f.worker(t, py)
		py.eval(t, `(r := telemetry_ingest.apply_async([event("never")], countdown=3))`)
		testenv.Until(t, "the worker has received it", func() bool { return py.eval(t, `r.id in str(app.control.inspect([%q]).scheduled())`, node) == "true" })
		py.eval(t, `r.revoke()`)
		py.raises(t, "TaskRevokedError", "revoked", `r.get(timeout=TIMEOUT)`)

		py.eval(t, `(r := telemetry_ingest.apply_async([event("nor-that")], countdown=3), r.revoke(terminate=True, wait=True, timeout=1))`)
		py.raises(t, "TaskRevokedError", "revoked", `r.get(timeout=TIMEOUT)`)

		py.eval(t, `app.control.revoke("before-it-came", destination=[%q], reply=True, timeout=TIMEOUT)`, node)
		py.raises(t, "TaskRevokedError", "revoked", `telemetry_ingest.apply_async([event("nor-this")], task_id="before-it-came").get(timeout=TIMEOUT)`)
		if got := py.eval(t, `telemetry_ingest.delay(event("this")).get(timeout=TIMEOUT)`); got != successMeta("this") {
			t.Errorf("the next task returns %s", got)
		}
	})
}

// Workers send the events that monitors need: celery events, Flower and Celery's
// State.
func TestCeleryEvents(t *testing.T) {
	eachCelery(t, func(t *testing.T, f *celeryFixture) {
		py := f.shell(t)
		_, node := f.worker(t, py)
		py.eval(t, `(watch(), app.control.enable_events(destination=[%q], reply=True, timeout=TIMEOUT))`, node)
		py.eval(t, `(ok := telemetry_ingest.delay(event("e")), bad := telemetry_ingest.delay(3), ok.get(timeout=TIMEOUT), bad.get(timeout=TIMEOUT, propagate=False))`)
		testenv.Until(t, "the worker is alive", func() bool {
			return py.eval(t, `[w.hostname for w in state.alive_workers()]`) == fmt.Sprintf(`["%s"]`, node)
		})
		testenv.Until(t, "both tasks have ended", func() bool {
			return py.eval(t, `[state.tasks[r.id].state if r.id in state.tasks else None for r in (ok, bad)]`) == `["SUCCESS", "FAILURE"]`
		})
		var seen []struct {
			Type, UUID, Name, Hostname, Args, Result, Exception, Traceback string
			Runtime                                                        float64
		}
		py.into(t, &seen, `[e for e in events if e["type"].startswith("task-")]`)
		types := map[string][]string{}
		for _, e := range seen {
			types[e.UUID] = append(types[e.UUID], e.Type)
			if e.Hostname != node {
				t.Errorf("%s is from %s, want %s", e.Type, e.Hostname, node)
			}
			switch e.Type {
			case "task-received":
				if e.Name != ingest || e.Args == "" {
					t.Errorf("received: %+v", e)
				}
			case "task-succeeded":
				if !strings.Contains(e.Result, "'alerts_created': 0") || e.Runtime <= 0 {
					t.Errorf("succeeded: %+v", e)
				}
			case "task-failed":
				if !strings.HasPrefix(e.Exception, "ValueError(") || e.Traceback == "" {
					t.Errorf("failed: %+v", e)
				}
			}
		}
		var ok, bad string
		py.into(t, &ok, "ok.id")
		py.into(t, &bad, "bad.id")
		for id, want := range map[string]string{ok: "task-received task-started task-succeeded", bad: "task-received task-started task-failed"} {
			if got := strings.Join(types[id], " "); got != want {
				t.Errorf("events of a task: %s, want %s", got, want)
			}
		}
	})
}

// A worker that is shut down finishes its running tasks, sends worker-offline, and
// leaves the other tasks to the next worker.
func TestCeleryStop(t *testing.T) {
	eachCelery(t, func(t *testing.T, f *celeryFixture) {
		py := f.shell(t)
		worker, node := f.worker(t, py)
		py.eval(t, `(watch(), ids := ingest_many(500, "e"), app.control.shutdown())`)
		worker.waitForExit(t)
		testenv.Until(t, "worker-offline is received", func() bool {
			var who []string
			py.into(t, &who, `[e["hostname"] for e in events if e["type"] == "worker-offline"]`)
			return len(who) == 1 && who[0] == node
		})
		f.worker(t, py)
		testenv.Until(t, "all are done", func() bool { return py.eval(t, "len(done(ids))") == "500" })
	})
}
