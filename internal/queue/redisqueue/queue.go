// Package redisqueue is the queue of many machines: Redis Streams, one entry a
// batch, on a single server, behind Sentinel, or in a Cluster.
//
// The queue is cut into shards, a stream each. A batch goes to the shard of
// its agent, so that what one agent sends stays in order; all keys of a shard
// have one hash tag, so that a script may use them together:
//
//	picket:meta        hash    what the queue was made with
//	picket:{7}:in      stream  messages; group workers, a consumer for each open queue
//	picket:{7}:due     zset    messages to be delivered again, by when; consumer _ holds them
//	picket:{7}:dead    stream  dead letters
//	picket:{7}:counts  hash    counters and bytes held, changed with what they count
//	picket:{7}:lost    hash    messages whose consumers were lost, and how often
//	picket:{7}:rate    hash    events in and out of the last minute; expires
//	picket:{7}:batches zset    ids of the last 4,096 batches, first of those that may be sent again
//
// Every change is one script, so that counters and content agree whatever
// fails. What waits to be written goes out in one pipeline, as many requests
// as there are. A message is deleted when it is acked; nothing is ever
// trimmed. What an Enqueue that returned nil survives is what the server's
// own persistence gives: see Settings.Durability.
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

// Options tune a queue. The zero value is ready to use.
type Options struct {
	// Shards is how many streams a queue that is made now has, 64 at most; 0
	// means 16. It is fixed from then on: opening with another number fails.
	Shards int
	// MaxBytes bounds the payload bytes held; 0 means 4 GiB. Servers that
	// enqueue at one time may together pass it by what they take in a quarter
	// of a second.
	MaxBytes int64
	// Lease is how long a message stays with a queue that no longer renews
	// it, for its process or its connection is gone; 0 means what the URL
	// says, or 30 s.
	Lease time.Duration
	// Fsync makes Enqueue wait until the server has synced to disk, by
	// WAITAOF where its own settings do not say so already.
	Fsync bool
	// Lazy makes Open succeed while Redis is away.
	Lazy bool
	// Logger hears of settings that may lose what was accepted, and of
	// outages; nil means slog.Default.
	Logger *slog.Logger
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
	// rejectedShare is the part of MaxBytes that letters of rejected events
	// may take.
	rejectedShare = 10
	// maxPayload is below what a server takes as one value.
	maxPayload = 500 << 20
	// maxEvents is what fits into an entry's id, less one.
	maxEvents = 1<<20 - 1
)

// closeTimeout bounds each of the two steps of closing.
const closeTimeout = time.Second

// Queue is a queue.Queue and a queue.Inspector on Redis. It is one consumer.
type Queue struct {
	opt      Options
	log      *slog.Logger
	config   *redisurl.Config
	client   redis.UniversalClient
	consumer string

	connectMu  sync.Mutex // held while the queue connects for the first time
	connected  atomic.Bool
	shards     []*shard
	pipeliners []*pipeliner
	waitAOF    bool
	settings   Settings
	capacity   capacity

	// reads is held by lanes that read, and alone by one that isolates.
	readLock sync.RWMutex

	mu          sync.Mutex // guards what follows
	waiters     []*waiter
	prefetched  []queue.Delivery // leased, and no receiver's yet
	idleSince   time.Time        // since when nobody has waited
	leases      map[int64]*lease
	byEntry     map[entry]int64
	lastReceipt int64
	idle        chan struct{} // closed when nothing is held any more; nil: no one waits

	stop       chan struct{} // closed by Close
	stopOnce   sync.Once
	background sync.WaitGroup
	closeErr   error
}

var (
	_ queue.Queue     = (*Queue)(nil)
	_ queue.Inspector = (*Queue)(nil)
)

// Open opens the queue at a URL, and makes it if there is none. Its errors
// are picket.ErrUnavailable where Redis is away.
func Open(ctx context.Context, url string, o Options) (*Queue, error) {
	p, err := redisurl.Parse(url)
	if err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	if o.Shards < 0 || o.Shards > maxShards {
		return nil, fmt.Errorf("open queue: %d shards, where 1 to %d are possible: %w", o.Shards, maxShards, picket.ErrInvalid)
	}
	o.Lease = cmp.Or(o.Lease, p.Lease)
	host, _ := os.Hostname()
	q := &Queue{
		opt: o.withDefaults(), config: p, client: p.Connect(),
		consumer: fmt.Sprintf("%s-%d-%s", host, os.Getpid(), rand.Text()),
		leases:   make(map[int64]*lease), byEntry: make(map[entry]int64),
		stop: make(chan struct{}),
	}
	q.log = q.opt.Logger.With("queue", p.String())
	if err := q.connect(ctx); err != nil {
		if !q.opt.Lazy || !errors.Is(err, picket.ErrUnavailable) {
			q.client.Close()
			return nil, fmt.Errorf("open queue %s: %w", p, err)
		}
		q.log.Warn("queue not there yet", "error", err)
	}
	return q, nil
}

// connect connects, where that has not been done yet.
func (q *Queue) connect(ctx context.Context) error {
	if q.connected.Load() {
		return q.closed()
	}
	q.connectMu.Lock()
	defer q.connectMu.Unlock()
	if err := q.closed(); err != nil || q.connected.Load() {
		return err
	}
	if err := q.setUp(ctx); err != nil {
		return redisstats.WrapError(err)
	}
	for _, l := range q.pipeliners {
		for range maxInFlight {
			q.background.Go(l.run)
		}
		q.background.Go(l.fetch)
	}
	q.background.Go(q.maintain)
	q.connected.Store(true)
	return nil
}

func (q *Queue) closed() error {
	select {
	case <-q.stop:
		return redisstats.ErrClosed
	default:
		return nil
	}
}

// Err returns nil: a Redis that is away comes back.
func (q *Queue) Err() error { return nil }

// Close gives back what this queue holds, where Redis can be reached, and
// ends its connections. What is being sent is still answered.
func (q *Queue) Close() error {
	q.stopOnce.Do(func() {
		q.connectMu.Lock() // nobody connects any more
		close(q.stop)
		q.connectMu.Unlock()
		// A Redis that does not answer must not keep a process from ending:
		// closing the connections ends what waits for it.
		ended := make(chan struct{})
		go func() { q.background.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(closeTimeout):
		}
		q.failWaiters(redisstats.ErrClosed)
		if q.connected.Load() {
			if err := q.releaseAll(); err != nil {
				q.log.Warn("messages come again when their leases end", "error", err)
			}
		}
		q.closeErr = q.client.Close()
		<-ended
	})
	return q.closeErr
}

// releaseAll gives back what this consumer holds, removes it, and tells what is
// settled.
func (q *Queue) releaseAll() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var calls []*call
	for _, s := range q.shards {
		calls = append(calls, &call{script: releaseAllScript, keys: []string{s.in, s.due}, args: []any{q.consumer}})
		if c, settled := q.enqueueCall(s); len(settled) > 0 {
			calls = append(calls, c)
		}
	}
	return q.run(ctx, calls, false)
}
