package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/testenv"
)

// What producers of the replaced system send comes back as a result, the way
// their Celery hands it to them.
func TestCeleryTasks(t *testing.T) {
	eachCelery(t, func(t *testing.T, r *celeryFixture) {
		py := r.shell(t)
		r.worker(t, py)
		is := func(want, format string, args ...any) { t.Helper(); py.is(t, want, format, args...) }

		is(successMeta("e-1"), `(r := telemetry_ingest.delay(event("e-1"))).get(timeout=10)`)
		is(`["SUCCESS", true, null]`, `[r.state, r.successful(), r.traceback]`)
		is(successMeta("e-1"), `telemetry_ingest.delay(event("e-1")).get(timeout=10)`) // again
		is(successMeta("named"), `telemetry_ingest.delay(data=event("named")).get(timeout=10)`)
		is(successMeta("own-id"), `(telemetry_ingest.apply_async([event("own-id")], task_id="chosen"), app.AsyncResult("chosen").get(timeout=10))[1]`)
		is(successMeta("by-name"), `app.send_task(%q, [event("by-name")]).get(timeout=10)`, ingest)
		is(successMeta("é-ü-日"), `telemetry_ingest.delay(event("é-ü-日")).get(timeout=10)`)
		is(successMeta("zlib"), `telemetry_ingest.apply_async([event("zlib")], compression="zlib").get(timeout=10)`)
		is(successMeta("typed"), `telemetry_ingest.delay(event("typed", process={"started": datetime.datetime.now(), "guid": uuid.uuid4(), "load": decimal.Decimal("0.5")})).get(timeout=10)`)
		is(successMeta("nan"), `telemetry_ingest.delay(event("nan", load=float("nan"))).get(timeout=10)`)
		is(successMeta("priority"), `telemetry_ingest.apply_async([event("priority")], priority=7).get(timeout=10)`)
		is(successMeta("retried"), `telemetry_ingest.apply_async([event("retried")], retries=2).get(timeout=10)`)
		is(successMeta("header"), `telemetry_ingest.apply_async([event("header")], headers={"tenant": "a"}, shadow="ingest").get(timeout=10)`)
		is(successMeta("in-time"), `telemetry_ingest.apply_async([event("in-time")], expires=60).get(timeout=10)`)
		is(successMeta("limited"), `telemetry_ingest.apply_async([event("limited")], time_limit=60, soft_time_limit=50).get(timeout=10)`)
		is("true", `86000 < server.ttl("celery-task-meta-chosen") <= 86400`)

		// A group, whose members come back in its order.
		var members []string
		for i := range 20 {
			members = append(members, successMeta(fmt.Sprintf("g-%d", i)))
		}
		is("["+strings.Join(members, ", ")+"]", `group(telemetry_ingest.s(event(f"g-{i}")) for i in range(20))().get(timeout=10)`)

		// A countdown holds a task back; a result that nobody wants is not kept.
		is(successMeta("later"), `(sent := time.time(), r := telemetry_ingest.apply_async([event("later")], countdown=1.5), r.get(timeout=10))[2]`)
		var waited float64
		py.into(t, &waited, `r.date_done.replace(tzinfo=datetime.timezone.utc).timestamp() - sent`)
		if waited < 1.4 {
			t.Errorf("a task with a countdown of 1.5 s was done after %.3f s", waited)
		}
		py.eval(t, `(ignored := telemetry_ingest.apply_async([event("ignored")], ignore_result=True), telemetry_ingest.delay(event("after")).get(timeout=10))`)
		is("null", `server.get("celery-task-meta-" + ignored.id)`)

		// Failures have a class and a text.
		py.raises(t, "ValueError", "dict", `(r := telemetry_ingest.delay(3)).get(timeout=10)`)
		is(`["FAILURE", true]`, `[r.state, "ValueError" in str(r.traceback)]`)
		py.raises(t, "ValueError", "agent_id", `telemetry_ingest.delay({"event_id": "x", "event_type": "process"}).get(timeout=10)`)
		py.raises(t, "TaskRevokedError", "expired", `(r := telemetry_ingest.apply_async([event("late")], expires=datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc))).get(timeout=10)`)
		is(`"REVOKED"`, "r.state")
		queue := "picket"
		if *consumer == "python" {
			queue = "celery"
		}
		py.raises(t, "NotRegistered", "nobody.knows", `app.send_task("nobody.knows", queue=%q).get(timeout=10)`, queue)

		// Nothing is left behind.
		testenv.Until(t, "nothing is unacknowledged", func() bool {
			return py.eval(t, `server.hlen("unacked") + server.zcard("unacked_index") + server.llen("celery")`) == "0"
		})
	})
}

// successMeta is the result of an event of shell.py, in JSON as Python writes it.
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

// Of what waits, tasks of a higher priority are run first: 0 is the highest.
func TestCeleryPriorities(t *testing.T) {
	eachCelery(t, func(t *testing.T, r *celeryFixture) {
		py := r.shell(t)
		py.eval(t, `(low := ingest_many(400, "low", priority=9), high := ingest_many(20, "high", priority=0))`)
		r.worker(t, py)
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

// A revoked task is not run, whether the worker holds it already or finds it
// later.
func TestCeleryRevoke(t *testing.T) {
	eachCelery(t, func(t *testing.T, r *celeryFixture) {
		py := r.shell(t)
		_, node := r.worker(t, py)
		py.eval(t, `(r := telemetry_ingest.apply_async([event("never")], countdown=3))`)
		testenv.Until(t, "the worker holds it", func() bool { return py.eval(t, `r.id in str(app.control.inspect([%q]).scheduled())`, node) == "true" })
		py.eval(t, `r.revoke()`)
		py.raises(t, "TaskRevokedError", "revoked", `r.get(timeout=10)`)

		py.eval(t, `(r := telemetry_ingest.apply_async([event("nor-that")], countdown=3), r.revoke(terminate=True, wait=True, timeout=1))`)
		py.raises(t, "TaskRevokedError", "revoked", `r.get(timeout=10)`)

		py.eval(t, `app.control.revoke("before-it-came", reply=True)`)
		py.raises(t, "TaskRevokedError", "revoked", `telemetry_ingest.apply_async([event("nor-this")], task_id="before-it-came").get(timeout=10)`)
		if got := py.eval(t, `telemetry_ingest.delay(event("this")).get(timeout=10)`); got != successMeta("this") {
			t.Errorf("after that %s", got)
		}
	})
}

// Monitors hear of workers and tasks by events: celery events, Flower, and
// Celery's own picture of a cluster.
func TestCeleryEvents(t *testing.T) {
	eachCelery(t, func(t *testing.T, r *celeryFixture) {
		py := r.shell(t)
		_, node := r.worker(t, py)
		py.eval(t, `(watch(), app.control.enable_events(reply=True, timeout=0.5))`)
		py.eval(t, `(ok := telemetry_ingest.delay(event("e")), bad := telemetry_ingest.delay(3), ok.get(timeout=10), bad.get(timeout=10, propagate=False))`)
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
				t.Errorf("%s is of %s, not %s", e.Type, e.Hostname, node)
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
				t.Errorf("events of a task: %s, not %s", got, want)
			}
		}
	})
}

// A worker that is asked to stop finishes what it runs, says that it goes, and
// leaves the rest for the next one.
func TestCeleryStop(t *testing.T) {
	eachCelery(t, func(t *testing.T, r *celeryFixture) {
		py := r.shell(t)
		worker, node := r.worker(t, py)
		py.eval(t, `(watch(), ids := ingest_many(500, "e"), app.control.shutdown())`)
		worker.waitForExit(t)
		testenv.Until(t, "the worker says so", func() bool {
			var who []string
			py.into(t, &who, `[e["hostname"] for e in events if e["type"] == "worker-offline"]`)
			return len(who) == 1 && who[0] == node
		})
		r.worker(t, py)
		testenv.Until(t, "all are done", func() bool { return py.eval(t, "len(done(ids))") == "500" })
	})
}
