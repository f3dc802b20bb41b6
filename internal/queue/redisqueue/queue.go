// Package redisqueue implements the queue of many machines on Redis Streams, with
// one entry per batch. Redis can be a single server, behind Sentinel or a
// Cluster.
//
// The queue is divided into shards, each with its own stream. A batch goes to
// the shard of its agent, so the batches of an agent stay in order. All keys of
// a shard have the same hash tag, so one script can use them together:
//
//	picket:meta        hash    format and number of shards
//	picket:{7}:in      stream  messages; group workers, with a consumer for each open queue
//	picket:{7}:due     zset    delayed messages and their times; they are pending for consumer _
//	picket:{7}:dead    stream  dead letters
//	picket:{7}:counts  hash    counters and bytes held
//	picket:{7}:lost    hash    how often the consumers of messages were lost
//	picket:{7}:rate    hash    events in and out during the last minute; expires
//	picket:{7}:batches zset    IDs of the last 4,096 batches, unconfirmed ones first, to recognize duplicates
//
// Each change is one script, so counters and content always agree. Concurrent
// requests share a pipeline. Messages are deleted when they are acked, and
// streams are never trimmed. What an accepted batch survives depends on the
// server's persistence: see redisurl.Settings.DescribeDurability.
package redisqueue

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisstats"
	"github.com/picket-edr/picket/internal/redisurl"
)

// Options configure a queue. The zero value is ready to use.
type Options struct {
	// Shards is the number of streams of a new queue, at most 64; 0 means 16. It
	// cannot be changed later: opening with another number fails.
	Shards int
	// MaxBytes bounds the payload bytes held; 0 means 4 GiB. Several servers can
	// together exceed it by what they accept in a quarter of a second.
	MaxBytes int64
	// Lease is how long a message stays leased after its consumer stopped
	// renewing, because it died or lost its connection; 0 means the value in the
	// URL, or 30 s.
	Lease time.Duration
	// Fsync makes Enqueue wait until the server has fsynced, with WAITAOF unless
	// the server's settings ensure it.
	Fsync bool
	// Lazy makes Open succeed while Redis is unreachable.
	Lazy   bool
	Logger *slog.Logger // nil means slog.Default
}

func (o Options) withDefaults() Options {
	o.MaxBytes = cmp.Or(o.MaxBytes, 4<<30)
	o.Lease = cmp.Or(o.Lease, 30*time.Second)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	return o
}

const (
	defaultShards = 16
	maxShards     = 64
	// rejectedBytesDivisor limits the dead letters of rejected events to this fraction
	// of MaxBytes.
	rejectedBytesDivisor = 10
	// maxPayloadBytes is below Redis's limit for a value.
	maxPayloadBytes = 500 << 20
	// maxEvents is the largest number of events that fits into an entry's ID.
	maxEvents = 1<<20 - 1
)

// closeTimeout bounds each of the two steps of closing.
const closeTimeout = time.Second

// A Queue implements queue.Queue and queue.Inspector on Redis. It is one consumer
// of the consumer group.
type Queue struct {
	opt      Options
	log      *slog.Logger
	config   *redisurl.Config
	client   redis.UniversalClient
	consumer string

	connectMu  sync.Mutex // held by connect
	connected  atomic.Bool
	shards     []*shard
	pipeliners []*pipeliner
	waitAOF    bool
	settings   ServerSettings
	usage      redisstats.UsageCache[usage]

	// readLock is locked for reading by pipeliners that lease messages, and for
	// writing by one that isolates a message.
	readLock sync.RWMutex

	mu          sync.Mutex // guards what follows
	waiters     []*waiter
	prefetched  []queue.Delivery // leased, and not delivered yet
	idleSince   time.Time        // since when no receiver has waited
	leases      map[int64]*lease
	byEntry     map[entryID]int64
	lastReceipt int64
	idle        chan struct{} // closed when nothing is leased any more; nil: no one waits

	stop       chan struct{} // closed by Close
	stopOnce   sync.Once
	background sync.WaitGroup
	closeErr   error
}

var (
	_ queue.Queue     = (*Queue)(nil)
	_ queue.Inspector = (*Queue)(nil)
)

// Open opens the queue at a URL and creates it if it does not exist. Its error is
// picket.ErrUnavailable if Redis is unreachable.
func Open(ctx context.Context, url string, o Options) (*Queue, error) {
	config, err := redisurl.Parse(url)
	if err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	if o.Shards < 0 || o.Shards > maxShards {
		return nil, fmt.Errorf("open queue: %d shards, where 1 to %d are possible: %w", o.Shards, maxShards, picket.ErrInvalid)
	}
	o.Lease = cmp.Or(o.Lease, config.Lease)
	host, _ := os.Hostname()
	q := &Queue{
		opt: o.withDefaults(), config: config, client: config.NewClient(),
		consumer: fmt.Sprintf("%s-%d-%s", host, os.Getpid(), rand.Text()),
		leases:   make(map[int64]*lease), byEntry: make(map[entryID]int64),
		stop: make(chan struct{}),
	}
	q.log = q.opt.Logger.With("queue", config.String())
	if err := q.connect(ctx); err != nil {
		if !q.opt.Lazy || !errors.Is(err, picket.ErrUnavailable) {
			q.client.Close()
			return nil, fmt.Errorf("open queue %s: %w", config, err)
		}
		q.log.Warn("queue unreachable; will connect when available", "error", err)
	}
	return q, nil
}

// connect sets up the queue and starts its goroutines, unless it did so before.
func (q *Queue) connect(ctx context.Context) error {
	if q.connected.Load() {
		return q.checkOpen()
	}
	q.connectMu.Lock()
	defer q.connectMu.Unlock()
	if err := q.checkOpen(); err != nil || q.connected.Load() {
		return err
	}
	if err := q.setUp(ctx); err != nil {
		return redisstats.WrapError(err)
	}
	for _, p := range q.pipeliners {
		for range maxPipelinesInFlight {
			q.background.Go(p.run)
		}
		q.background.Go(p.fetchLoop)
	}
	q.background.Go(q.renewAndReturnPrefetched)
	q.connected.Store(true)
	return nil
}

func (q *Queue) checkOpen() error {
	select {
	case <-q.stop:
		return redisstats.ErrQueueClosed
	default:
		return nil
	}
}

// Close waits for the requests that are being sent, returns the messages leased
// by this queue if Redis is reachable, and closes the connections.
func (q *Queue) Close() error {
	q.stopOnce.Do(func() {
		q.connectMu.Lock() // no connect may be in progress
		close(q.stop)
		q.connectMu.Unlock()
		// If Redis does not answer, closing the connections ends the requests
		// that wait for it.
		ended := make(chan struct{})
		go func() { q.background.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(closeTimeout):
		}
		q.failWaiters(redisstats.ErrQueueClosed)
		if q.connected.Load() {
			if err := q.releaseAll(); err != nil {
				q.log.Warn("could not release messages; they will be redelivered when their leases expire", "error", err)
			}
		}
		q.closeErr = q.client.Close()
		<-ended
	})
	return q.closeErr
}

// releaseAll returns the messages leased by this consumer, deletes the consumer,
// and sends the confirmations that are left.
func (q *Queue) releaseAll() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var calls []*call
	for _, s := range q.shards {
		calls = append(calls, &call{script: releaseAllScript, keys: []string{s.in, s.due}, args: []any{q.consumer}})
		if c, noResendIDs := q.newEnqueueCall(s); len(noResendIDs) > 0 {
			calls = append(calls, c)
		}
	}
	return q.runCalls(ctx, calls, false)
}
