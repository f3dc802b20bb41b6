package main

import (
	"cmp"
	"log/slog"
	"slices"
	"strings"

	"github.com/picket-edr/picket/internal/queue/celeryqueue"
)

// celeryQueue looks at a Celery broker: what operators of Celery look at first
// when a task stays pending.
func (d *doctor) celeryQueue() {
	q, err := celeryqueue.Open(d.ctx, d.queueName, celeryqueue.Options{Event: newReaderPool().Read, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		d.bad("queue", "is the broker running? the URL is celery+redis://[user:password@]host:port/0, as CELERY_BROKER_URL has it behind the plus", "%v", err)
		return
	}
	defer q.Close()
	s, err := q.Survey(d.ctx)
	if err != nil {
		d.bad("broker", "", "%v", err)
		return
	}
	text := "Redis " + s.Version + "; published tasks survive " + s.Durability(false)
	if ws := s.Warnings(); len(ws) > 0 {
		d.bad("broker", ws[0], "%s", text)
	} else {
		d.ok("broker", "%s", text)
	}
	if s.Results != nil {
		d.bad("result", "is the result backend running? results=URL in --queue names it", "%v", s.Results)
	}
	for _, w := range s.Workers {
		d.ok("worker", "%s consumes %s", w.Name, strings.Join(w.Queues, ", "))
	}
	for i := range s.Queues {
		d.celeryQueueState(s, &s.Queues[i])
	}
	d.waiting(q)
}

// celeryQueueState looks at one queue, and who consumes it.
func (d *doctor) celeryQueueState(s *celeryqueue.Survey, state *celeryqueue.QueueState) {
	consumers := s.Consumers(state.Name)
	known := func(w celeryqueue.WorkerState) bool { return slices.Contains(w.Tasks, s.Task) }
	for _, w := range consumers {
		if !known(w) && state.Name == s.Publish {
			d.bad("queue", "give picket a queue of its own: ?queue=picket in --queue of server and workers, and task_routes in Django; see docs/celery.md",
				"%s consumes %s and does not know %s: it throws such tasks away", w.Name, state.Name, s.Task)
		}
	}
	strange := cmp.Or(strings.Join(state.Strange, ", "), "none")
	switch {
	case state.Waiting == 0:
		d.ok("queue", "%s: empty", state.Name)
	case len(consumers) == 0:
		d.bad("queue", "start picket worker --queue … with that queue, or a Python worker with -Q "+state.Name,
			"%s: %d tasks wait, and no worker that answers consumes it", state.Name, state.Waiting)
	case len(state.Strange) > 0 && state.Shared && !slices.ContainsFunc(consumers, func(w celeryqueue.WorkerState) bool { return !w.Picket }):
		d.bad("queue", "start the worker that has these tasks; picket makes dead letters of what is nobody's, see docs/celery.md",
			"%s: %d tasks wait, among them %s, which no worker that answers knows", state.Name, state.Waiting, strange)
	default:
		d.ok("queue", "%s: %d tasks wait; of other programs: %s", state.Name, state.Waiting, strange)
	}
}
