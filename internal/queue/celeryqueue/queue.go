// Package celeryqueue is a queue of Celery tasks on Redis, one task an event:
// what a Python worker runs, and what Python producers sent.
//
// It takes the place of either side. As a producer it publishes what
// telemetry_ingest.delay(event) would. As a worker it takes such tasks by the
// hundred, in one atomic step, hands them on as one batch, and writes the
// result of each. A task that is held stands in kombu's own unacked hash, so
// that nothing is lost if picket goes away for good; and under a lease of
// picket's, so that nobody waits an hour for what a dead worker held. Beside
// kombu's keys it uses
//
//	picket:celery:leases   zset    tags of what picket's workers hold, by when that ends
//	picket:celery:parked   zset    tags of what is to run later, by when
//	picket:celery:tries    hash    task id → how often it came back
//	picket:celery:lost     hash    task id → how often who held it died
//	picket:celery:dead     stream  dead letters
//	picket:celery:counts   hash    counters
//	picket:celery:rate     hash    events in and out of the last minute; expires
//	picket:celery:batches  zset    ids of the last 4,096 batches published
//	picket:celery:revoked  zset    ids of revoked tasks, by when that is forgotten
//	picket:celery:node:N   string  who has the name N; expires
//
// The wire is package celery's; docs/celery.md tells users what is kept of
// Celery's ways, and what is not.
package celeryqueue

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisstats"
	"github.com/picket-edr/picket/internal/redisurl"
)

// Options tune a queue.
type Options struct {
	// Event makes an event of what others sent, a JSON object, which must not
	// change; id is for an event that has none. What is wrong with one is an
	// error that is picket.ErrInvalid. It is called by many goroutines; nil
	// refuses what others send.
	Event func(raw []byte, id string, received time.Time) (picket.Event, error)
	// Group bounds the tasks of one delivery; 0 means 2,048.
	Group int
	// MaxBytes bounds what the lists hold, as Redis estimates it; 0 means 4 GiB.
	MaxBytes int64
	// Lease is how long tasks stay with a process that no longer renews them;
	// 0 means what the URL says, or 30 s.
	Lease time.Duration
	// Lazy makes Open succeed while Redis is away.
	Lazy bool
	// Logger hears of tasks and of outages; nil means slog.Default.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	o.Group = cmp.Or(o.Group, 2048)
	o.MaxBytes = cmp.Or(o.MaxBytes, 4<<30)
	o.Lease = cmp.Or(o.Lease, 30*time.Second)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	return o
}

// closeTimeout bounds what closing asks of Redis.
const closeTimeout = time.Second

// Queue is a queue.Queue, a queue.Inspector and a queue.ResultReporter on a
// Celery broker.
type Queue struct {
	opt      Options
	log      *slog.Logger
	set      *settings
	client   redis.UniversalClient
	results  redis.UniversalClient // nil: results are not written
	decoder  celery.Decoder
	capacity capacity

	receiveMu    chan struct{} // held by the one who looks for tasks
	claims       int64         // numbers the claims; of who has the turn
	tagPrefix    string        // begins the tags of this queue
	observer     Observer      // nil: none
	rateLimit    rateLimiter
	isolating    atomic.Bool // tasks that were lost wait to be delivered alone
	unregistered unregisteredTasks

	mu          sync.Mutex // guards what follows
	inflight    map[int64]*inflight
	token       int64
	queues      []string // the queues consumed, own and shared
	unconfirmed []string // claims that may have been done, and were not seen

	stop       chan struct{} // closed by Close
	stopOnce   sync.Once
	background sync.WaitGroup
	closeErr   error
}

var (
	_ queue.Queue          = (*Queue)(nil)
	_ queue.Inspector      = (*Queue)(nil)
	_ queue.ResultReporter = (*Queue)(nil)
)

// Open opens the queue at a URL. Its errors are picket.ErrUnavailable where
// Redis is away.
func Open(ctx context.Context, url string, o Options) (*Queue, error) {
	set, err := parseURL(url)
	if err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	o.Lease = cmp.Or(o.Lease, set.broker.Lease)
	q := &Queue{
		opt: o.withDefaults(), set: set, client: set.broker.Connect(),
		receiveMu: make(chan struct{}, 1), tagPrefix: tagPrefix + rand.Text() + "-",
		queues:   append(slices.Clone(set.ownQueues), set.sharedQueues...),
		decoder:  celery.Decoder{Decompress: map[string]func([]byte, int) ([]byte, error){"application/zstd": unzstd}},
		inflight: make(map[int64]*inflight), stop: make(chan struct{}),
	}
	q.log = q.opt.Logger.With("queue", scheme+set.broker.String())
	if set.results != nil {
		q.results = set.results.Connect()
	}
	if err := q.client.Ping(ctx).Err(); err != nil {
		err = redisstats.WrapError(err)
		if !q.opt.Lazy || !errors.Is(err, picket.ErrUnavailable) {
			return nil, errors.Join(fmt.Errorf("open queue %s: %w", set.broker, err), q.Close())
		}
		q.log.Warn("queue not there yet", "error", err)
	} else if settings, err := redisurl.ReadSettings(ctx, q.client); err == nil {
		if settings.OlderThan(6, 2) {
			err := fmt.Errorf("open queue %s: Redis %s is older than 6.2: %w", set.broker, settings.Version, picket.ErrInvalid)
			return nil, errors.Join(err, q.Close())
		}
		settings.LogWarnings(q.log)
	}
	q.background.Go(q.maintain)
	return q, nil
}

func (q *Queue) closed() error {
	select {
	case <-q.stop:
		return redisstats.ErrClosed
	default:
		return nil
	}
}

// Close gives back what this queue holds, where Redis can be reached, and
// ends its connections.
func (q *Queue) Close() error {
	q.stopOnce.Do(func() {
		close(q.stop)
		q.background.Wait()
		if err := q.releaseAll(); err != nil {
			q.log.Warn("tasks come again when their leases end", "error", err)
		}
		q.closeErr = q.client.Close()
		if q.results != nil {
			q.closeErr = errors.Join(q.closeErr, q.results.Close())
		}
	})
	return q.closeErr
}

// releaseAll puts back what is still held.
func (q *Queue) releaseAll() error {
	q.mu.Lock()
	var all []*Task
	for _, h := range q.inflight {
		all = append(all, h.tasks...)
	}
	clear(q.inflight)
	q.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return q.release(ctx, all, true)
}
