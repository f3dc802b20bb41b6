package test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/testenv"
)

// The celery command inspects and controls workers.
func TestCeleryControl(t *testing.T) {
	eachCelery(t, func(t *testing.T, f *celeryFixture) {
		py := f.shell(t)
		worker, node := f.worker(t, py)
		// With a destination, the command returns at its reply.
		at := []string{"--timeout", "180", "--destination", node}
		// inspect decodes the reply of the node.
		inspect := func(v any, args ...string) {
			t.Helper()
			out := py.cli(t, slices.Concat([]string{"inspect", "--json"}, at, args)...)
			var answers map[string]json.RawMessage
			if err := json.Unmarshal([]byte(out), &answers); err != nil {
				t.Fatalf("celery inspect %v: %v: %s", args, err, out)
			}
			if err := json.Unmarshal(answers[node], v); err != nil {
				t.Fatalf("celery inspect %v: %v: %s", args, err, out)
			}
		}
		control := func(want string, args ...string) {
			t.Helper()
			if out := py.cli(t, slices.Concat([]string{"control"}, at, args)...); !strings.Contains(out, node+": OK") || !regexp.MustCompile(want).MatchString(out) {
				t.Errorf("celery control %v prints no %q: %s", args, want, out)
			}
		}
		id := func(variable string) (id string) {
			t.Helper()
			py.into(t, &id, "%s.id", variable)
			return id
		}
		done := func(id string) bool {
			t.Helper()
			out := py.cli(t, "result", id) // prints nothing if there is no result yet
			return strings.Contains(out, "'status': 'success'")
		}

		// Presence.
		if out := py.cli(t, slices.Concat([]string{"status"}, at)...); !strings.Contains(out, node+": OK") || !strings.Contains(out, "1 node online") {
			t.Errorf("celery status prints %s", out)
		}
		var pong map[string]string
		if inspect(&pong, "ping"); pong["ok"] != "pong" {
			t.Errorf("celery inspect ping: %v", pong)
		}
		var registered []string
		if inspect(&registered, "registered"); !slices.Contains(registered, ingest) {
			t.Errorf("celery inspect registered: %v", registered)
		}
		if out := py.cli(t, slices.Concat([]string{"inspect"}, at, []string{"conf"})...); !strings.Contains(out, node+": OK") {
			t.Errorf("celery inspect conf prints %s", out)
		}
		queues := func() (names []string) {
			t.Helper()
			var found []struct {
				Name       string
				RoutingKey string `json:"routing_key"`
				Exchange   struct{ Name, Type string }
			}
			inspect(&found, "active_queues")
			for _, q := range found {
				names = append(names, q.Name)
				if q.RoutingKey == "" || q.Exchange.Type != "direct" {
					t.Errorf("celery inspect active_queues: %+v", q)
				}
			}
			slices.Sort(names)
			return names
		}
		want := []string{"celery", "picket"}
		if *consumer == "python" {
			want = want[:1]
		}
		if got := queues(); !slices.Equal(got, want) {
			t.Errorf("celery inspect active_queues: %v, want %v", got, want)
		}

		// Statistics, and the size of the pool.
		type stats struct {
			Total  map[string]int
			PID    int
			Uptime float64
			Clock  string
			Pool   struct {
				Max       int `json:"max-concurrency"`
				Processes []int
			}
			Broker struct {
				Transport, Hostname string
				Port                int
			}
			Prefetch int `json:"prefetch_count"`
		}
		poolSize := func() int {
			t.Helper()
			var s stats
			inspect(&s, "stats")
			if *consumer == "python" {
				return len(s.Pool.Processes)
			}
			return s.Pool.Max
		}
		py.eval(t, `group(telemetry_ingest.s(event(f"e-{i}")) for i in range(5))().get(timeout=TIMEOUT)`)
		var s stats
		inspect(&s, "stats")
		if s.Total[ingest] != 5 || s.PID != worker.cmd.Process.Pid || s.Pool.Max != 2 || s.Prefetch == 0 || s.Clock == "" {
			t.Errorf("celery inspect stats: %+v", s)
		}
		if got := fmt.Sprintf("%s://%s:%d", s.Broker.Transport, s.Broker.Hostname, s.Broker.Port); got != "redis://"+f.redis.Addr {
			t.Errorf("celery inspect stats: broker is %s", got)
		}
		control("pool will grow", "pool_grow", "2")
		testenv.Until(t, "the pool grows", func() bool { return poolSize() == 4 })
		control("pool will shrink", "pool_shrink", "3")
		testenv.Until(t, "the pool shrinks", func() bool { return poolSize() == 1 })

		// A task with a countdown can be seen, and revoked.
		py.eval(t, `(later := telemetry_ingest.apply_async([event("later")], countdown=600))`)
		var scheduled []struct {
			ETA     string
			Request struct{ ID, Name, Type string }
		}
		testenv.Until(t, "the task is scheduled", func() bool {
			inspect(&scheduled, "scheduled")
			return len(scheduled) == 1
		})
		if got := scheduled[0]; got.Request.ID != id("later") || got.Request.Name != ingest || got.ETA == "" {
			t.Errorf("celery inspect scheduled: %+v", got)
		}
		control("flagged as revoked", "revoke", id("later"))
		var ids []string
		if inspect(&ids, "revoked"); !slices.Contains(ids, id("later")) {
			t.Errorf("celery inspect revoked: %v", ids)
		}
		var tasks []struct{ ID, Name string }
		if inspect(&tasks, "active"); len(tasks) != 0 {
			t.Errorf("celery inspect active: %v", tasks)
		}
		inspect(&tasks, "reserved")

		// The result of a task.
		py.eval(t, `(r := telemetry_ingest.delay(event("done")), r.get(timeout=TIMEOUT))`)
		if !done(id("r")) {
			t.Error("celery result does not print a result")
		}

		// A command that picket does not know gets the error of Celery.
		if *consumer == "picket" {
			py.is(t, fmt.Sprintf(`[{"%s": {"error": "KeyError('add_consumer')"}}]`, node), `app.control.add_consumer("other", destination=[%q], reply=True, timeout=TIMEOUT)`, node)
		}

		// Task events.
		control("task events enabled", "enable_events")
		control("task events already enabled", "enable_events")
		control("task events disabled", "disable_events")

		py.eval(t, `cli("control", "--destination", %q, "shutdown")`, node) // a worker that shuts down does not reply
		worker.waitForExit(t)
	})
}
