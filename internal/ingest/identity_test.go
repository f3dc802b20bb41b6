package ingest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/legacy"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
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
	r := ingest.NewQueuedEventReader("celery", legacy.Validator{}, []byte("secret"))
	ev, err := r.Read([]byte(native), "", time.Now())
	testenv.Check(t, err)
	if ev.Sender != "celery" {
		t.Errorf("sender is %q", ev.Sender)
	}
}
