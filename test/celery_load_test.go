package test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/testenv"
)

// Workers are killed while they process the tasks of Python producers. No task is
// lost or counted twice. PICKET_TEST_CELERY_TASKS is the number of tasks.
func TestCeleryKilledWorkers(t *testing.T) {
	t.Parallel()
	if *consumer == "python" {
		t.Skip("a stock Celery worker loses the tasks that it was running")
	}
	total := 8_000
	if s := os.Getenv("PICKET_TEST_CELERY_TASKS"); s != "" {
		var err error
		if total, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	old, f := newCeleryFixture(t, "5.2"), newCeleryFixture(t, "new")
	old.redis, f.options = f.redis, "?lease=5s" // they share one broker
	total = max(total/200, 1) * 200             // two producers, every hundredth an attack

	// Two workers are killed and replaced in turn.
	startWorker := func() *process { return f.picketWorker(t, "--concurrency", "2") }
	workers := [2]*process{startWorker(), startWorker()}
	producers := map[string]*shell{"old": old.shell(t), "new": f.shell(t)}
	sent := make(chan error, len(producers))
	for name, py := range producers {
		go func() {
			a, err := py.ask("(ids := ingest_many(%d, %q), len(ids))[1]", total/2, name)
			if err == nil && a.Error != "" {
				err = errors.New(a.Text)
			}
			sent <- err
		}()
	}

	kills := 0
	var last int
	for began, changed := time.Now(), time.Now(); last < total; time.Sleep(250 * time.Millisecond) {
		n := f.results(t)
		if n > last {
			last, changed = n, time.Now()
		}
		if time.Since(changed) > testenv.Timeout {
			t.Fatalf("%d of %d tasks have a result, and no more come", last, total)
		}
		if due := int(time.Since(began) / (1500 * time.Millisecond)); due > kills {
			workers[kills%2].kill()
			workers[kills%2] = startWorker()
			kills++
		}
	}
	for range producers {
		if err := <-sent; err != nil {
			t.Fatalf("produce: %v", err)
		}
	}
	if t.Logf("%d tasks, %d workers killed", total, kills); kills == 0 {
		t.Error("all tasks were done before a worker was killed")
	}
	for name, py := range producers {
		if got := py.eval(t, "len(done(ids))"); got != strconv.Itoa(total/2) {
			t.Errorf("%s of %d tasks of the %s producer succeeded", got, total/2, name)
		}
	}
	// A worker may be killed after it wrote a result and before it acknowledged the
	// task. The task is then delivered again, which must change nothing.
	testenv.Until(t, "the broker has no tasks", func() bool {
		return producers["new"].eval(t, `server.llen("celery") + server.llen("picket") + server.hlen("unacked")`) == "0"
	})
	for _, p := range workers {
		p.stop(t)
	}

	// Each event and each match is stored once.
	s := startOn(t, f.data, "--workers", "0")
	var stats struct {
		TotalEvents int `json:"total_events"`
	}
	s.get(t, "/api/v1/dashboard/stats/", &stats)
	if stats.TotalEvents != total {
		t.Errorf("%d events are stored, want %d", stats.TotalEvents, total)
	}
	var list struct {
		Alerts []struct {
			Title string
			Count int
		}
	}
	s.get(t, "/api/v1/alerts", &list)
	if len(list.Alerts) != 1 || !strings.Contains(list.Alerts[0].Title, "Shadow") || list.Alerts[0].Count != total/100 {
		t.Errorf("alerts: %+v, want one with %d matches", list.Alerts, total/100)
	}
}

// get decodes a response of the API.
func (s *server) get(t testing.TB, path string, v any) {
	t.Helper()
	req, _ := http.NewRequest("GET", s.url+path, nil)
	req.Header.Set("Authorization", "Token "+s.picket(t, "token", "create", "--api", "test", "--role", "viewer"))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s", path, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
}
