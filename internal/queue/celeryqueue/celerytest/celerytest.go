// Package celerytest is a Celery broker for tests, seen as Python programs see it.
package celerytest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/legacy"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/celeryqueue"
	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/testenv"
)

// TaskName is the task that queues run by default.
const TaskName = "ingestion.tasks.telemetry_ingest"

// A Broker is a broker with a Redis client.
type Broker struct {
	*redistest.Server
	T      *testing.T
	Client *redis.Client
	Keys   celery.Keys
}

// StartBroker starts a broker.
func StartBroker(t *testing.T) *Broker {
	s := redistest.Start(t)
	return &Broker{Server: s, T: t, Client: s.Client()}
}

// NewEventTask returns a task with one event, as a Python producer publishes it.
func NewEventTask(id string) celery.Task {
	return celery.Task{ID: id, Name: TaskName, GroupIndex: -1, RoutingKey: "celery", ArgsRepr: "({...},)", KwargsRepr: "{}",
		Args: fmt.Appendf(nil, `[{"event_id":"event of %s","agent_id":"PC1","event_type":"process","timestamp":1700000000}]`, id)}
}

// Publish publishes tasks as a Python producer does.
func (f *Broker) Publish(ts ...celery.Task) {
	f.T.Helper()
	for i := range ts {
		testenv.Check(f.T, f.Client.LPush(f.T.Context(), f.Keys.List(ts[i].RoutingKey, ts[i].Priority), ts[i].Append(nil)).Err())
	}
}

// ReceiveTasks receives deliveries until they hold so many tasks.
func ReceiveTasks(t *testing.T, q *celeryqueue.Queue, tasks int) []queue.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Timeout)
	defer cancel()
	var all []queue.Delivery
	for got := 0; got < tasks; {
		ds, err := q.Receive(ctx, 10)
		testenv.Check(t, err)
		for _, d := range ds {
			got += d.Events
		}
		all = append(all, ds...)
	}
	return all
}

// EventIDs returns the ids of the events of deliveries.
func EventIDs(t *testing.T, ds []queue.Delivery) []string {
	t.Helper()
	var ids []string
	for _, d := range ds {
		b, err := picket.DecodeBatch(d.Payload)
		testenv.Check(t, err)
		for _, e := range b.Events {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// A Result is a task's result, as Python programs see it.
type Result struct {
	Status    celery.Status
	Value     json.RawMessage `json:"result"`
	GroupID   string          `json:"group_id"`
	Exception *celery.Exception
}

// DecodeResult decodes a result.
func DecodeResult(t *testing.T, raw []byte) *Result {
	t.Helper()
	r := new(Result)
	testenv.Check(t, json.Unmarshal(raw, r))
	if r.Status != celery.Success {
		var e struct {
			Type    string            `json:"exc_type"`
			Module  string            `json:"exc_module"`
			Message []json.RawMessage `json:"exc_message"`
		}
		testenv.Check(t, json.Unmarshal(r.Value, &e))
		r.Exception = &celery.Exception{Type: e.Type, Module: e.Module, Args: e.Message}
	}
	return r
}

// WaitResult waits for a task's result.
func (f *Broker) WaitResult(id string) *Result {
	f.T.Helper()
	var result *Result
	testenv.Until(f.T, "a result of "+id, func() bool {
		raw, err := f.Client.Get(f.T.Context(), f.Keys.Result(id)).Bytes()
		if err != nil {
			return false
		}
		result = DecodeResult(f.T, raw)
		return result.Status == celery.Success || result.Status == celery.Failure || result.Status == celery.Revoked
	})
	return result
}

// WantFailure checks that a task has failed with an exception.
func (f *Broker) WantFailure(id, class, text string) {
	f.T.Helper()
	got := f.WaitResult(id)
	if got.Exception == nil || got.Exception.Type != class || string(got.Exception.Args[0]) != fmt.Sprintf("%q", text) {
		f.T.Errorf("%s is %s %s, want %s(%q)", id, got.Status, got.Exception, class, text)
	}
}

// WantEmpty checks that no task is left at the broker, in any state.
func (f *Broker) WantEmpty() {
	f.T.Helper()
	for _, key := range []string{"unacked", "unacked_index", "picket:celery:leases", "picket:celery:parked", "picket:celery:tries", "picket:celery:lost", "celery", "picket"} {
		if n := f.Client.Exists(f.T.Context(), key).Val(); n != 0 {
			f.T.Errorf("%s is left", key)
		}
	}
}

// AckInBackground receives and acks in the background until the test ends.
func AckInBackground(t *testing.T, q *celeryqueue.Queue) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			ds, err := q.Receive(ctx, 10)
			if err == nil {
				err = q.Ack(context.WithoutCancel(ctx), ds...)
			}
			if err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// Broadcast sends a remote control command and returns the replies by node.
func (f *Broker) Broadcast(method, arguments string) map[string]json.RawMessage {
	f.T.Helper()
	c := celery.NewControl(method, time.Time{})
	c.Arguments = json.RawMessage(arguments)
	message, err := c.Append(nil)
	testenv.Check(f.T, err)
	n, err := f.Client.Publish(f.T.Context(), f.Keys.ControlChannel(), message).Result()
	testenv.Check(f.T, err)
	all := make(map[string]json.RawMessage)
	for range n {
		got, err := f.Client.BRPop(f.T.Context(), testenv.Timeout, f.Keys.Reply(c.ReplyTo.RoutingKey)).Result()
		testenv.Check(f.T, err)
		node, value, err := celery.DecodeReply([]byte(got[1]))
		testenv.Check(f.T, err)
		all[node] = value
	}
	return all
}

// An Event is an event of a task or a worker, as Python programs see it.
type Event struct {
	Type, Hostname, UUID, Name, Args, Kwargs, Result, Exception, Traceback string
	PID, Clock                                                             int
	Timestamp, Freq, Runtime                                               float64
	Expired                                                                bool
	Software                                                               string `json:"sw_ident"`
	Version                                                                string `json:"sw_ver"`
}

// DecodeEvents decodes a message with one or several events.
func DecodeEvents(t *testing.T, message string) []Event {
	t.Helper()
	var envelope struct{ Body []byte }
	testenv.Check(t, json.Unmarshal([]byte(message), &envelope))
	if !bytes.HasPrefix(envelope.Body, []byte("[")) {
		envelope.Body = fmt.Appendf(nil, "[%s]", envelope.Body)
	}
	var all []Event
	testenv.Check(t, json.Unmarshal(envelope.Body, &all))
	return all
}

var eventReaderPool = sync.Pool{New: func() any { return ingest.NewRawEventReader("celery", legacy.Validator{}, []byte("secret")) }}

// ReadEvent is celeryqueue.Options.Event with the rules of the intake.
func ReadEvent(raw []byte, id string, received time.Time) (picket.Event, error) {
	r := eventReaderPool.Get().(*ingest.RawEventReader)
	defer eventReaderPool.Put(r)
	return r.Read(raw, id, received)
}

// Open opens a queue at a broker until the test ends. url has no "celery+".
func Open(t testing.TB, url string, o celeryqueue.Options) *celeryqueue.Queue {
	t.Helper()
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	o.Event = ReadEvent
	q, err := celeryqueue.Open(t.Context(), "celery+"+url, o)
	testenv.Check(t, err)
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	return q
}
