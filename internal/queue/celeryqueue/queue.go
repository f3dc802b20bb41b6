// Package celeryqueue is a queue of Celery tasks on Redis, one task for each event: the
// tasks that Python producers publish and Python workers run.
//
// It can replace either side. As a producer it publishes what
// telemetry_ingest.delay(event) would. As a worker it claims hundreds of tasks in one
// atomic step, delivers them as one batch, and writes the result of each. A claimed task
// is in kombu's own unacked hash, so that Python workers find it if picket goes away for
// good, and it has a lease of picket's, so that it is redelivered within seconds if its
// worker is lost. Its own keys are
//
//	picket:celery:leases   zset    tags of the tasks that picket's workers lease, by expiry
//	picket:celery:parked   zset    tags of delayed tasks, by the time they are due
//	picket:celery:tries    hash    task id → earlier attempts
//	picket:celery:lost     hash    task id → how often its worker was lost
//	picket:celery:dead     stream  dead letters
//	picket:celery:counts   hash    counters
//	picket:celery:rate     hash    events in and out in the last minute; expires
//	picket:celery:batches  zset    ids of the last 4,096 batches published
//	picket:celery:revoked  zset    ids of revoked tasks, by expiry
//	picket:celery:node:N   string  the client that has the node name N; expires
//
// Package celery has the wire format, package celeryworker the events and remote control.
// docs/celery.md tells users which features of Celery are supported.
package celeryqueue

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisstats"
	"github.com/picket-edr/picket/internal/redisurl"
	"github.com/picket-edr/picket/internal/zst"
)

// Options configure a queue.
type Options struct {
	// Event reads the event of a task that another producer published: a JSON
	// object, which must not change. id is for an event without one. An invalid
	// event is picket.ErrInvalid. It must be safe for concurrent use; nil rejects
	// such tasks.
	Event func(raw []byte, id string, received time.Time) (picket.Event, error)
	// Group bounds the tasks of one delivery; 0 means 2,048.
	Group int
	// MaxBytes bounds the memory of the lists, as Redis reports it; 0 means 4 GiB.
	MaxBytes int64
	// Lease is how long tasks stay with a process that has stopped renewing them; 0
	// means the URL's value, or 30 s.
	Lease time.Duration
	// Lazy: Open succeeds even if Redis is unreachable.
	Lazy bool
	// Logger logs tasks and outages; nil means slog.Default.
	Logger *slog.Logger
}

// deliveryTagPrefix begins the tags of all tasks that picket leases.
const deliveryTagPrefix = "picket-"

// closeTimeout bounds the Redis commands of Close.
const closeTimeout = time.Second

// A Queue is a queue.Queue, a queue.Inspector and a queue.ResultReporter on a Celery
// broker. It is safe for concurrent use.
type Queue struct {
	opt     Options
	log     *slog.Logger
	set     *Settings
	client  redis.UniversalClient
	results redis.UniversalClient // nil: results are not written
	decoder celery.Decoder
	usage   redisstats.UsageCache[snapshot]
	lists   []priorityList // that are consumed

	scriptKeys []string

	receiveMu    chan struct{} // held while claiming
	claims       int64         // numbers the claims; guarded by receiveMu
	unconfirmed  chan string   // prefixes of claims whose outcome is unknown; read under receiveMu
	tagPrefix    string        // begins the tags of this queue
	observer     Observer
	isolating    atomic.Bool // suspect tasks are to be delivered alone
	unregistered unregisteredClaimPolicy

	inflight    sync.Map // the tasks of each delivery, a []*UnackedTask, by its receipt
	lastReceipt atomic.Int64

	open       context.Context // ends when the queue is closed
	close      context.CancelCauseFunc
	closeOnce  sync.Once
	background sync.WaitGroup
	closeErr   error
}

var (
	_ queue.Queue          = (*Queue)(nil)
	_ queue.Inspector      = (*Queue)(nil)
	_ queue.ResultReporter = (*Queue)(nil)
)

// Open opens the queue at a URL. If Redis is unreachable, the error is
// picket.ErrUnavailable.
func Open(ctx context.Context, url string, o Options) (*Queue, error) {
	set, err := parseURL(url)
	if err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	o.Group = cmp.Or(o.Group, 2048)
	o.MaxBytes = cmp.Or(o.MaxBytes, 4<<30)
	o.Lease = cmp.Or(o.Lease, set.Broker.Lease, 30*time.Second)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	q := &Queue{
		opt: o, set: set, client: set.Broker.NewClient(),
		receiveMu: make(chan struct{}, 1), unconfirmed: make(chan string, maxUnconfirmedClaims), tagPrefix: deliveryTagPrefix + rand.Text() + "-",
		lists: set.consumedLists(), scriptKeys: set.scriptKeys(), observer: nopObserver{},
		decoder: celery.Decoder{Decompress: map[string]func([]byte) (io.ReadCloser, error){"application/zstd": zst.NewReader}},
	}
	q.open, q.close = context.WithCancelCause(context.Background())
	q.log = q.opt.Logger.With("queue", scheme+set.Broker.String())
	if set.Results != nil {
		q.results = set.Results.NewClient()
	}
	if err := q.client.Ping(ctx).Err(); err != nil {
		err = redisstats.WrapError(err)
		if !q.opt.Lazy || !errors.Is(err, picket.ErrUnavailable) {
			return nil, errors.Join(fmt.Errorf("open queue %s: %w", set.Broker, err), q.Close())
		}
		q.log.Warn("queue unreachable; will connect when available", "error", err)
	} else if settings, err := redisurl.ReadSettings(ctx, q.client); err == nil {
		if settings.OlderThan(6, 2) {
			err := fmt.Errorf("open queue %s: Redis %s is older than 6.2: %w", set.Broker, settings.Version, picket.ErrInvalid)
			return nil, errors.Join(err, q.Close())
		}
		settings.LogDurabilityWarnings(q.log, redisurl.FsyncUnsupported)
	}
	q.background.Go(q.maintain)
	return q, nil
}

// checkOpen returns an error if the queue is closed.
func (q *Queue) checkOpen() error { return context.Cause(q.open) }

// Settings returns the settings of the queue's URL.
func (q *Queue) Settings() *Settings { return q.set }

// Client returns the connection to the broker. The queue closes it.
func (q *Queue) Client() redis.UniversalClient { return q.client }

// ConsumerID identifies the queue among all at the broker.
func (q *Queue) ConsumerID() string { return q.tagPrefix }

// MaxDeliveryTasks returns how many tasks a delivery holds at most.
func (q *Queue) MaxDeliveryTasks() int { return q.opt.Group }

// Close returns the tasks in flight to their lists, if Redis is reachable, and closes
// the connections.
func (q *Queue) Close() error {
	q.closeOnce.Do(func() {
		q.close(redisstats.ErrQueueClosed)
		q.background.Wait()
		if err := q.releaseAll(); err != nil {
			q.log.Warn("could not release tasks; they will be redelivered when their leases expire", "error", err)
		}
		q.closeErr = q.client.Close()
		if q.results != nil {
			q.closeErr = errors.Join(q.closeErr, q.results.Close())
		}
	})
	return q.closeErr
}

// releaseAll returns all tasks in flight to their lists.
func (q *Queue) releaseAll() error {
	var all []*UnackedTask
	q.EachInflight(func(t *UnackedTask) { all = append(all, t) })
	q.inflight.Clear()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return q.restore(ctx, all, attempted)
}
