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

// Tasks of Python producers, with workers killed on the way: none is lost, none
// counts twice. PICKET_TEST_CELERY_TASKS says how many.
func TestCeleryKilledWorkers(t *testing.T) {
	if *consumer == "python" {
		t.Skip("a stock Celery worker loses what it had in hand")
	}
	total := 20_000
	if s := os.Getenv("PICKET_TEST_CELERY_TASKS"); s != "" {
		var err error
		if total, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	old, r := newCeleryFixture(t, "5.2"), newCeleryFixture(t, "new")
	old.redis, r.options = r.redis, "?lease=5s" // the two share one broker
	total = max(total/200, 1) * 200             // two producers, every hundredth an attack

	// Two workers, each in its turn killed and replaced.
	hire := func() *process { return r.picketWorker(t, "--concurrency", "2") }
	crew := [2]*process{hire(), hire()}
	producers := map[string]*shell{"old": old.shell(t), "new": r.shell(t)}
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
		n := r.results(t)
		if n > last {
			last, changed = n, time.Now()
		}
		if time.Since(changed) > time.Minute {
			t.Fatalf("of %d tasks %d have a result, and no more come", total, last)
		}
		if due := int(time.Since(began) / (1500 * time.Millisecond)); due > kills {
			crew[kills%2].kill()
			crew[kills%2] = hire()
			kills++
		}
	}
	for range producers {
		if err := <-sent; err != nil {
			t.Fatalf("produce: %v", err)
		}
	}
	if t.Logf("%d tasks, %d workers killed", total, kills); kills == 0 {
		t.Error("all was done before a worker could be killed")
	}
	for name, py := range producers {
		if got := py.eval(t, "len(done(ids))"); got != strconv.Itoa(total/2) {
			t.Errorf("of %d tasks of the %s producer %s succeeded", total/2, name, got)
		}
	}
	// A worker that was killed after it wrote a result held the task still: it
	// comes again, and changes nothing.
	testenv.Until(t, "nothing is left on the broker", func() bool {
		return producers["new"].eval(t, `server.llen("celery") + server.llen("picket") + server.hlen("unacked")`) == "0"
	})
	for _, p := range crew {
		p.interrupt(t)
	}

	// What is stored: each event and each match once.
	s := startOn(t, r.data, "--workers", "0")
	var stats struct {
		TotalEvents int `json:"total_events"`
	}
	s.get(t, "/api/v1/dashboard/stats/", &stats)
	if stats.TotalEvents != total {
		t.Errorf("%d events are stored, not %d", stats.TotalEvents, total)
	}
	var list struct {
		Alerts []struct {
			Title string
			Count int
		}
	}
	s.get(t, "/api/v1/alerts", &list)
	if len(list.Alerts) != 1 || !strings.Contains(list.Alerts[0].Title, "Shadow") || list.Alerts[0].Count != total/100 {
		t.Errorf("alerts: %+v, not one of %d matches", list.Alerts, total/100)
	}
}

// get reads JSON of the server's API.
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
