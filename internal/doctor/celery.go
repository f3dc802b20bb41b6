package doctor

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue/celeryqueue"
	"github.com/picket-edr/picket/internal/redisurl"
)

// CheckCeleryQueue checks what operators of Celery check first when a task stays
// pending: the broker, the result backend, the workers and their queues. read
// reads the events of tasks.
func CheckCeleryQueue(ctx context.Context, r *Report, url string, readEvent func(raw []byte, id string, received time.Time) (picket.Event, error)) {
	q, err := celeryqueue.Open(ctx, url, celeryqueue.Options{Event: readEvent, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.addFailure("queue", "is the broker running? the URL is celery+redis://[user:password@]host:port/0, as CELERY_BROKER_URL has it behind the plus", "%v", err)
		return
	}
	defer q.Close()
	s, err := q.Diagnose(ctx)
	if err != nil {
		r.addFailure("broker", "", "%v", err)
		return
	}
	text := "Redis " + s.Version + "; published tasks survive " + s.DescribeDurability(false)
	reportDurability(r, "broker", text, s.Settings, redisurl.FsyncUnsupported)
	if s.Results != nil {
		r.addFailure("result", "is the result backend running? results=URL in --queue names it", "%v", s.Results)
	}
	for _, w := range s.Workers {
		r.addOK("worker", "%s consumes %s", w.Name, strings.Join(w.Queues, ", "))
	}
	for i := range s.Queues {
		checkCeleryQueueState(r, s, &s.Queues[i])
	}
	checkBacklog(ctx, r, q)
}

// checkCeleryQueueState checks one queue and its consumers.
func checkCeleryQueueState(r *Report, s *celeryqueue.BrokerReport, state *celeryqueue.QueueState) {
	consumers := s.Consumers(state.Name)
	known := func(w celeryqueue.InspectedWorker) bool { return slices.Contains(w.Tasks, s.Task) }
	for _, w := range consumers {
		if !known(w) && state.Name == s.Publish {
			r.addFailure("queue", "give picket a queue of its own: ?queue=picket in --queue of server and workers, and task_routes in Django; see docs/celery.md",
				"%s consumes %s and does not know %s: it discards such tasks", w.Name, state.Name, s.Task)
		}
	}
	knowsOther := func(w celeryqueue.InspectedWorker) bool {
		return slices.ContainsFunc(w.Tasks, func(name string) bool { return slices.Contains(state.Unregistered, name) })
	}
	strange := cmp.Or(strings.Join(state.Unregistered, ", "), "none")
	switch {
	case state.Waiting == 0:
		r.addOK("queue", "%s: empty", state.Name)
	case len(consumers) == 0:
		r.addFailure("queue", "start picket worker --queue … with that queue, or a Python worker with -Q "+state.Name,
			"%s: %d tasks wait, and no worker that answers consumes it", state.Name, state.Waiting)
	case len(state.Unregistered) > 0 && state.Shared && !slices.ContainsFunc(consumers, knowsOther):
		r.addFailure("queue", "start the worker that has these tasks; picket makes dead letters of what is nobody's, see docs/celery.md",
			"%s: %d tasks wait, among them %s, which no worker that answers knows", state.Name, state.Waiting, strange)
	default:
		r.addOK("queue", "%s: %d tasks wait; of other programs: %s", state.Name, state.Waiting, strange)
	}
}
