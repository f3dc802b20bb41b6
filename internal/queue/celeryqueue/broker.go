package celeryqueue

import (
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/redisurl"
)

// Software is the software name of picket's workers in Celery.
const Software = "picket"

// A Broker is the Celery broker of a queue and the settings of its URL.
type Broker struct {
	Client redis.UniversalClient // the queue closes it
	Config *redisurl.Config
	Keys   celery.Keys
	// ClientID identifies the queue among all at the broker.
	ClientID string
	// Results is the result backend; nil: results are not written.
	Results           *redisurl.Config
	ResultExpires     time.Duration
	VisibilityTimeout time.Duration
	Publish           string   // the queue that the intake's tasks go to
	Tasks             []string // the names of picket's task
	GroupSize         int      // tasks of one delivery at most
	NodeName          string   // "": derived from the host's name
	RemoteControl     bool

	set *settings
}

// Key returns the name of one of picket's own keys.
func (b Broker) Key(name string) string { return b.set.key(name) }

// Broker returns the queue's broker.
func (q *Queue) Broker() Broker {
	s := q.set
	return Broker{
		Client: q.client, Config: s.broker, Keys: s.keys, ClientID: q.tagPrefix, Results: s.results, ResultExpires: s.expires,
		VisibilityTimeout: s.visibility, Publish: s.publish, Tasks: s.tasks, GroupSize: q.opt.Group, NodeName: s.node, RemoteControl: s.control, set: s,
	}
}

// Queues returns the names of the queues that are consumed.
func (q *Queue) Queues() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]string{}, q.queues...)
}

// Consume starts or stops to consume a queue, and reports whether that changes
// anything.
func (q *Queue) Consume(name string, start bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if slices.Contains(q.queues, name) == start {
		return false
	}
	if start {
		q.queues = append(slices.Clone(q.queues), name)
	} else {
		q.queues = slices.DeleteFunc(slices.Clone(q.queues), func(o string) bool { return o == name })
	}
	return true
}

// InflightCount returns how many tasks are in flight.
func (q *Queue) InflightCount() int {
	n := 0
	q.EachInflight(func(*Task) { n++ })
	return n
}

// EachInflight calls f with each task in flight. f must not call the queue.
func (q *Queue) EachInflight(f func(*Task)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, d := range q.inflight {
		for _, t := range d.tasks {
			f(t)
		}
	}
}

// SetRateLimit limits the tasks received per second. limit is in Celery's notation:
// "10/s", "100/m", "1000/h", a number of tasks a second, or "0" for no limit.
func (q *Queue) SetRateLimit(limit string) error { return q.rateLimit.set(limit) }

// SawOtherWorker records the heartbeat of a worker of another kind, which may know
// tasks that picket does not.
func (q *Queue) SawOtherWorker() { q.unregistered.sawOtherWorker() }
