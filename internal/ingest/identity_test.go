package ingest_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/legacy"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/testenv"
)

// Events have the sender that was authenticated, and the index that they were sent to.
func TestSenders(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	r.post(r.agent, native)
	r.post(r.collector, native)
	r.do(http.MethodPost, "/logs/_bulk", strings.NewReader("{\"create\":{\"_id\":\"1\"}}\n{\"a\":1}\n{\"create\":{\"_index\":\"other\",\"_id\":\"1\"}}\n{\"a\":1}\n"),
		"Authorization", "Token "+r.collector, "Content-Type", "application/x-ndjson")
	r.do(http.MethodPut, "/docs/_doc/7", strings.NewReader(`{"a":1}`), "Authorization", "Token "+r.collector, "Content-Type", "application/json")
	var got []string
	for _, e := range r.takeAll(t) {
		got = append(got, e.ID+" "+e.Sender+" "+e.Index)
	}
	want := "e1 agent:PC1 |e1 collector:col |1 collector:col logs|1 collector:col other|7 collector:col docs"
	if g := strings.Join(got, "|"); g != want {
		t.Errorf("events are\n%s, want\n%s", g, want)
	}
}

// The ids of events without one depend on the secret: they are the same on every
// server that has it, and no one else can predict them.
func TestIDSecret(t *testing.T) {
	id := func(secret string, times int) (ids []string) {
		r := newFixture(t, sqlitequeue.Options{}, ingest.Options{IDSecret: []byte(secret)})
		for range times {
			r.do(http.MethodPost, "/_bulk", strings.NewReader("{\"create\":{}}\n{\"a\":1}\n"), "Authorization", "Token "+r.collector, "Content-Type", "application/x-ndjson")
		}
		for _, e := range r.takeAll(t) {
			ids = append(ids, e.ID)
		}
		return ids
	}
	one, other := id("secret", 2), id("secret", 1)
	if len(one) != 2 || one[0] != one[1] || len(other) != 1 || other[0] != one[0] {
		t.Errorf("ids with one secret are %v and %v", one, other)
	}
	if unlike := id("another secret", 1); len(unlike) != 1 || unlike[0] == one[0] {
		t.Errorf("id with another secret is %v, with the first %v", unlike, one)
	}
}

// What other programs put on the queue has a sender that no token has.
func TestSenderOfQueuedEvents(t *testing.T) {
	r := ingest.NewRawEventReader("celery", legacy.Validator{}, []byte("secret"))
	ev, err := r.Read([]byte(native), "", time.Now())
	testenv.Check(t, err)
	if ev.Sender != "celery" {
		t.Errorf("sender is %q", ev.Sender)
	}
}

// The first event of an agent that names a host binds its token to that host. Events that
// name another are stored as the bound host's, and counted. An admin can bind it again,
// or to no host; collectors post for any host.
func TestHostBinding(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	event := func(id, host string) string {
		return `{"event_id":"` + id + `","event_type":"logon","Hostname":"` + host + `"}`
	}
	post := func(token string, bodies ...string) string {
		t.Helper()
		for _, body := range bodies {
			if w := r.post(token, body); w.Code != http.StatusCreated && w.Code != http.StatusBadRequest {
				t.Fatal(w.Code, w.Body)
			}
		}
		var got []string
		for _, e := range r.takeAll(t) {
			got = append(got, e.ID+"@"+e.Host)
		}
		return strings.Join(got, " ")
	}
	check := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: events are %q, want %q", what, got, want)
		}
	}
	long := strings.Repeat("h", 600)
	check("before the first use", post(r.agent, event("1", long), `{"event_id":"2","event_type":"logon"}`), "2@PC1")
	check("a host named as the exemption is", post(r.agent, event("*", "*")), "*@*")
	r.now = r.now.Add(2 * time.Second)
	check("first use", post(r.agent, "["+event("3", "ws-1")+","+event("4", "dc01")+"]"), "3@ws-1 4@ws-1")
	r.now = r.now.Add(2 * time.Second) // a token is looked up once a second
	check("bound", post(r.agent, event("5", "dc01"), event("6", "WS-1.corp.example"), `{"event_id":"7","event_type":"logon"}`), "5@ws-1 6@ws-1 7@ws-1")
	if n := r.handler.OtherHostEvents(); n != 2 {
		t.Errorf("%d events named another host, want 2", n)
	}
	check("a collector", post(r.collector, event("8", "dc01"), event("9", "dc02")), "8@dc01 9@dc02")

	testenv.Check(t, r.store.SetTokenHost(t.Context(), r.agentTokenID, "ws-2"))
	r.now = r.now.Add(2 * time.Second)
	check("bound by an admin", post(r.agent, event("10", "ws-1")), "10@ws-2")
	testenv.Check(t, r.store.SetTokenHost(t.Context(), r.agentTokenID, store.TokenAnyHost))
	r.now = r.now.Add(2 * time.Second)
	check("not bound", post(r.agent, "["+event("11", "ws-1")+","+event("12", "dc01")+"]"), "11@ws-1 12@dc01")
}

// Of concurrent first requests of an agent that name different hosts, one binds the token
// for all of them.
func TestHostBindingRace(t *testing.T) {
	r := newFixture(t, sqlitequeue.Options{}, ingest.Options{})
	var work sync.WaitGroup
	for i := range 8 {
		work.Go(func() {
			r.post(r.agent, fmt.Sprintf(`{"event_id":"%d","event_type":"logon","Hostname":"host-%d"}`, i, i))
		})
	}
	work.Wait()
	events := r.takeAll(t)
	for _, e := range events {
		if e.Host != events[0].Host {
			t.Errorf("event %s is from host %s, others from %s", e.ID, e.Host, events[0].Host)
		}
	}
	if len(events) != 8 {
		t.Errorf("%d events, want 8", len(events))
	}
}
