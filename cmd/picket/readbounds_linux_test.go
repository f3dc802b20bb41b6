package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/sigma"
)

// saveEvents saves events in the data directory before a server starts. Each event
// that has matches becomes an alert for each.
func (c *testCluster) saveEvents(raws []string, matches func(picket.Event) []picket.Match) {
	c.t.Helper()
	s, err := sqlitestore.Open(filepath.Join(c.data, "events.db"), sqlitestore.Options{})
	testenv.Check(c.t, err)
	now := time.Now().UTC().Truncate(time.Second)
	for i, raw := range raws {
		ev := picket.Event{ID: fmt.Sprint("e", i), AgentID: fmt.Sprint("a", i), Host: "h", Type: "x", Time: now, Received: now, Raw: []byte(raw)}
		ev.Sender = ev.AgentID // so that none has too many alerts
		_, err := s.Save(c.t.Context(), store.Batch{ID: ev.ID, Events: []picket.Event{ev}, Matches: matches(ev)})
		testenv.Check(c.t, err)
	}
	testenv.Check(c.t, s.Close())
}

// A reader reads from a server with a token, or with a session.
type reader struct {
	url, token string
	client     *http.Client
}

func (c *testCluster) newReader(name string) *reader {
	return &reader{c.url(), c.createToken("--api", name, "--role", "viewer"), &http.Client{}}
}

// newSession returns a reader who is signed in to the console.
func (c *testCluster) newSession() *reader {
	c.t.Helper()
	jar, err := cookiejar.New(nil)
	testenv.Check(c.t, err)
	r := &reader{url: c.url(), client: &http.Client{Jar: jar}}
	resp, err := r.client.PostForm(c.url()+"/console/sign-in", url.Values{"name": {"admin"}, "password": {adminPassword}})
	testenv.Check(c.t, err)
	resp.Body.Close()
	return r
}

const adminPassword = "correct horse battery"

// get returns the status and the body of an answer.
func (r *reader) get(ctx context.Context, path string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", r.url+path, nil)
	if err != nil {
		return 0, nil, err
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Token "+r.token)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// Lists and pages of events, alerts, matches and dead letters that are as large as any
// version accepted them are answered within maxResident, several at the same time.
func TestHostileRows(t *testing.T) {
	skipUnderRace(t)
	t.Parallel()
	c := newTestCluster(t, "--workers", "2")
	c.env = []string{"PICKET_ADMIN_PASSWORD=" + adminPassword}
	var raws []string
	for i := range 52 {
		raws = append(raws, fmt.Sprintf(`{"n":%d,"a":[%s1]}`, i, strings.Repeat("1,", 499_000)))
		raws = append(raws, fmt.Sprintf(`{"n":%d,"a":[%s1],"Image":"%s"}`, i, strings.Repeat("12345678,", 65_000), strings.Repeat("i", 300_000)))
	}
	title := strings.Repeat("title\x01", 45_000/6) // a control character takes six bytes of JSON
	c.saveEvents(raws, func(ev picket.Event) []picket.Match {
		var ms []picket.Match
		for i := range 10 {
			rule := fmt.Sprint("rule-", i, "-of-", ev.ID)
			ms = append(ms, picket.Match{ID: picket.MatchID(rule, ev.ID), RuleID: rule, EventID: ev.ID, AgentID: ev.AgentID, Host: "h", Time: ev.Time,
				Title: title, Level: sigma.High, Why: []sigma.Evidence{{Field: "Image", Value: title}}})
		}
		return ms
	})
	q, err := sqlitequeue.Open(filepath.Join(c.data, "queue.db"), sqlitequeue.Options{})
	testenv.Check(t, err)
	for i := range 40 {
		b := picket.Batch{ID: fmt.Sprint("b", i), Events: []picket.Event{{ID: "e", Raw: []byte(strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000))}}}
		if i%2 == 0 {
			b.Events[0].Raw = []byte(strings.Repeat("x", 40<<20))
		}
		testenv.Check(t, q.Enqueue(t.Context(), queue.Message{ID: b.ID}, queue.DeadLetter{Reason: queue.Rejected, Cause: title, Events: 1, Time: time.Now(), Payload: b.Encode(nil)}))
	}
	testenv.Check(t, q.Close())
	p := c.startServer()
	limitMemory(t, p)
	var readers sync.WaitGroup
	for name, r := range map[string]*reader{"one": c.newReader("one"), "two": c.newReader("two"), "admin": c.newSession()} {
		paths := []string{"/api/v1/alerts?limit=1000", "/api/v1/alerts?limit=1000&status=open", "/api/v1/matches?limit=1000", "/api/v1/events?limit=1000",
			"/api/v1/events?limit=1000&q=Image~i", "/api/v1/queue/dead?limit=1000", "/api/v1/dashboard/alerts/?limit=1000", "/api/v1/stats"}
		if name == "admin" {
			paths = append(paths, "/console/", "/console/alerts", "/console/events", "/console/events?q=Image=i*", "/console/events/e0", "/console/events/e1", "/console/queue",
				"/console/alerts/"+picket.AlertID(picket.MatchID("rule-1-of-e1", "e1")))
		}
		for _, path := range paths {
			readers.Go(func() {
				for range 3 {
					status, body, err := r.get(t.Context(), path)
					if err != nil || status != http.StatusOK && status != http.StatusTooManyRequests {
						t.Errorf("%s: %d, %.200s, %v", path, status, body, err)
					}
					if len(body) > store.MaxPageBytes+1<<20 {
						t.Errorf("%s: %d bytes", path, len(body))
					}
				}
			})
		}
	}
	readers.Wait()
	checkMemory(t, p)
	// The cursors lead to all rows.
	r := c.newReader("three")
	for path, want := range map[string]int{"alerts": 1040, "matches": 1040, "events": 104, "queue/dead": 40} {
		got := 0
		for cursor := ""; ; {
			status, body, err := r.get(t.Context(), "/api/v1/"+path+"?limit=1000&cursor="+url.QueryEscape(cursor))
			var page struct {
				Alerts, Matches, Events, Dead []json.RawMessage
				Next                          *string
			}
			if err == nil {
				err = json.Unmarshal(body, &page)
			}
			if err != nil || status != http.StatusOK {
				t.Fatalf("%s: %d, %.200s, %v", path, status, body, err)
			}
			got += len(page.Alerts) + len(page.Matches) + len(page.Events) + len(page.Dead)
			if page.Next == nil {
				break
			}
			cursor = *page.Next
		}
		if got != want {
			t.Errorf("%s: %d rows, want %d", path, got, want)
		}
	}
	checkMemory(t, p)
	testenv.Check(t, p.stop())
}

// longSearches are searches that take minutes on the events of saveLongValues.
var longSearches = []string{`a~(a?){300}b`, strings.Repeat(`a~(a?){30}b or `, 40) + "nothing", `a=*a?` + strings.Repeat("a", 4000) + `b*`}

func (c *testCluster) saveLongValues() {
	value := strings.Repeat("a", store.MaxRegexpInputBytes)
	var raws []string
	for i := range 60 {
		raws = append(raws, fmt.Sprintf(`{"n":%d,"a":["%[2]s1","%[2]s2","%[2]s3"],"other":"%[3]sb"}`, i, value, value[:4000]))
	}
	c.saveEvents(raws, func(picket.Event) []picket.Match { return nil })
}

// While many search with what takes longest, others are served: health, the intake,
// and requests with unknown tokens. The searches end when their time is over.
func TestHostileSearches(t *testing.T) {
	skipUnderRace(t)
	t.Parallel()
	c := newTestCluster(t, "--workers", "2", "--search-timeout", "3s")
	c.saveLongValues()
	p := c.startServer()
	limitMemory(t, p)
	agent := c.createToken("--agent", "a1")
	var searches sync.WaitGroup
	for i := range 8 {
		r := c.newReader(fmt.Sprint("reader", i))
		searches.Go(func() {
			status, body, err := r.get(t.Context(), "/api/v1/events?q="+url.QueryEscape(longSearches[i%len(longSearches)]))
			if err != nil || status != http.StatusServiceUnavailable && status != http.StatusTooManyRequests {
				t.Errorf("search: %d %.200s, %v", status, body, err)
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		searches.Wait()
		close(ended)
	}()
	for n, more := 0, true; more; n++ {
		select {
		case <-ended:
			more = false
		default:
		}
		ctx, cancel := context.WithTimeout(t.Context(), testenv.Timeout)
		if status, body, err := (&reader{url: c.url(), client: http.DefaultClient}).get(ctx, "/readyz"); err != nil || status != http.StatusOK {
			t.Errorf("readyz: %d %s, %v", status, body, err)
		}
		unknown := &reader{c.url(), fmt.Sprintf("%040x", n), http.DefaultClient}
		if status, body, err := unknown.get(ctx, "/api/v1/alerts"); err != nil || status != http.StatusUnauthorized {
			t.Errorf("unknown token: %d %s, %v", status, body, err)
		}
		req, err := http.NewRequestWithContext(ctx, "POST", c.url()+"/api/v1/telemetry/", strings.NewReader(fmt.Sprintf(`[{"event_type":"x","n":%d}]`, n)))
		testenv.Check(t, err)
		req.Header.Set("Authorization", "Token "+agent)
		resp, err := http.DefaultClient.Do(req)
		if err != nil || resp.StatusCode != http.StatusCreated {
			t.Errorf("telemetry: %v, %v", resp, err)
		} else {
			resp.Body.Close()
		}
		cancel()
	}
	checkMemory(t, p)
	testenv.Check(t, p.stop())
}

// Searches end when their clients disconnect, so that others get their slots.
func TestAbandonedSearches(t *testing.T) {
	skipUnderRace(t)
	t.Parallel()
	c := newTestCluster(t, "--workers", "1", "--search-timeout", "1h")
	c.saveLongValues()
	p := c.startServer()
	for round := range 3 {
		ctx, abandon := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		for i := range 4 {
			r := c.newReader(fmt.Sprintf("reader%d-%d", round, i))
			clients.Go(func() {
				if status, body, err := r.get(ctx, "/api/v1/events?q="+url.QueryEscape(longSearches[round])); err == nil {
					t.Errorf("search ended: %d %.200s", status, body)
				}
			})
		}
		r := c.newReader(fmt.Sprint("other", round))
		testenv.Until(t, "the searches have all slots", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, _, err := r.get(ctx, "/api/v1/events?limit=1")
			return err != nil
		})
		abandon()
		clients.Wait()
		testenv.Until(t, "a search has its turn", func() bool {
			status, _, err := r.get(t.Context(), "/api/v1/events?limit=1")
			return err == nil && status == http.StatusOK
		})
	}
	testenv.Check(t, p.stop())
}
