package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/legacy"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/celeryqueue"
	"github.com/picket-edr/picket/internal/queue/diskbuffer"
	"github.com/picket-edr/picket/internal/queue/redisqueue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/redisurl"
	"github.com/picket-edr/picket/internal/worker"
)

// An engine is the queue that --queue names.
type engine struct {
	both
	// ready returns why intake can put nothing on the queue.
	ready func(ctx context.Context) error
	// celery is the queue itself, or the one behind the disk buffer, where that
	// is a Celery broker's; nil elsewhere.
	celery *celeryqueue.Queue
}

// results reports to those who wait for a task's result, if the queue has such.
func (e *engine) results() queue.ResultReporter {
	if e.celery == nil {
		return nil
	}
	return e.celery
}

type both interface {
	queue.Queue
	queue.Inspector
}

// queueOptions are what the engines are told.
type queueOptions struct {
	maxBytes, minFree int64
	durability        string // of Redis: reply or fsync
	spillBytes        int64  // kept in the data directory while the queue is away; 0: nothing
	lazy              bool   // open a queue on Redis though that is away
	log               *slog.Logger
}

const queueUsage = "`ENGINE` of the queue: sqlite, or a URL as in redis://HOST:6379/0 or, of a Celery broker, celery+redis://HOST:6379/0"

// checkQueue refuses names of no engine.
func checkQueue(name, durability string) error {
	if name != "sqlite" && !redisurl.IsURL(name) && !celeryqueue.Is(name) {
		return usagef("--queue %q: it is neither sqlite nor a URL of Redis", queueName(name))
	}
	if celeryqueue.Is(name) && durability != "reply" {
		return usagef("--redis-durability is for redis://; a Celery broker gives what its own settings do")
	}
	if durability != "reply" && durability != "fsync" {
		return usagef("--redis-durability %q is neither reply nor fsync", durability)
	}
	return nil
}

// queueName cuts from a name what may be a password.
func queueName(name string) string {
	if at := strings.LastIndexByte(name, '@'); at >= 0 {
		return "…" + name[at:]
	}
	return name
}

// openQueue opens the queue that --queue names.
func openQueue(ctx context.Context, name string, dir dataDir, o queueOptions) (*engine, error) {
	if name == "sqlite" {
		q, err := sqlitequeue.Open(dir.queue(), sqlitequeue.Options{MaxBytes: o.maxBytes, MinFreeDisk: o.minFree, Logger: o.log})
		if err != nil {
			return nil, hintedAccess(err)
		}
		return &engine{both: q, ready: func(ctx context.Context) error {
			_, err := q.Stats(ctx)
			return cmp.Or(q.Err(), err) // its disk has failed: it takes nothing more
		}}, nil
	}
	r, err := openRemote(ctx, name, o)
	if err != nil {
		if errors.Is(err, picket.ErrUnavailable) {
			err = hinted(err, "is Redis running, and --queue its URL? picket doctor --queue shows what it says")
		}
		return nil, err
	}
	if o.spillBytes <= 0 {
		return &engine{r.Next, func(ctx context.Context) error { _, err := r.Stats(ctx); return err }, r.celery}, nil
	}
	buffer, err := sqlitequeue.Open(dir.spill(), sqlitequeue.Options{MaxBytes: o.spillBytes, MinFreeDisk: o.minFree, IgnoreLost: true, Logger: o.log})
	if err != nil {
		return nil, errors.Join(hintedAccess(err), r.Close())
	}
	q, err := diskbuffer.New(r.Next, buffer, diskbuffer.Options{Confirmer: r.confirmer, Logger: o.log})
	if err != nil {
		return nil, errors.Join(err, buffer.Close(), r.Close())
	}
	// Intake goes on while Redis is unreachable.
	return &engine{q, func(context.Context) error { return buffer.Err() }, r.celery}, nil
}

// A remoteQueue is a queue on Redis.
type remoteQueue struct {
	diskbuffer.Next
	confirmer diskbuffer.Confirmer // the queue, if it is one; else nil
	celery    *celeryqueue.Queue   // the queue, if it is on a Celery broker; else nil
}

func openRemote(ctx context.Context, name string, o queueOptions) (*remoteQueue, error) {
	lazy := o.lazy || o.spillBytes > 0
	if celeryqueue.Is(name) {
		q, err := celeryqueue.Open(ctx, name, celeryqueue.Options{MaxBytes: o.maxBytes, Lazy: lazy, Event: newReaderPool().Read, Logger: o.log})
		return &remoteQueue{Next: q, celery: q}, err
	}
	q, err := redisqueue.Open(ctx, name, redisqueue.Options{MaxBytes: o.maxBytes, Fsync: o.durability == "fsync", Lazy: lazy, Logger: o.log})
	return &remoteQueue{Next: q, confirmer: q}, err
}

// A readerPool makes events of tasks that others sent, for many goroutines.
type readerPool struct{ pool sync.Pool }

func newReaderPool() *readerPool {
	return &readerPool{sync.Pool{New: func() any { return ingest.NewReader("celery", legacy.Validator{}) }}}
}

func (p *readerPool) Read(raw []byte, id string, received time.Time) (picket.Event, error) {
	r := p.pool.Get().(*ingest.Reader)
	defer p.pool.Put(r)
	return r.Read(raw, id, received)
}

// attend makes this process a node among Celery's, where the queue is a
// broker's; what it returns runs that until ctx ends.
func (e *engine) attend(ctx context.Context, w *worker.Worker, shutdown func()) func() {
	if e.celery == nil {
		return func() {}
	}
	return e.celery.Attend(ctx, celeryqueue.Node{Crew: w, Shutdown: shutdown, Version: version})
}

// addQueueFlag adds --queue to a command that looks at a queue.
func addQueueFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("queue", "sqlite", queueUsage)
}

// inspected opens the queue for a command that looks at it beside the server;
// one on another machine needs no data directory.
func inspected(ctx context.Context, name, data string) (*engine, error) {
	if err := checkQueue(name, "reply"); err != nil {
		return nil, err
	}
	dir := dataDir(data)
	if name == "sqlite" {
		var err error
		if dir, err = existing(data); err != nil {
			return nil, err
		}
	}
	return openQueue(ctx, name, dir, queueOptions{durability: "reply", log: slog.New(slog.DiscardHandler)})
}

// redisQueue looks at a queue on Redis and at the settings of its server.
func (d *doctor) redisQueue() {
	q, err := redisqueue.Open(d.ctx, d.queueName, redisqueue.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		d.bad("queue", "is Redis running? the URL is redis://[user:password@]host:port/0, or rediss:// for TLS", "%v", err)
		return
	}
	defer q.Close()
	s, err := q.Settings(d.ctx)
	if err != nil {
		d.bad("queue", "", "%v", err)
		return
	}
	text := fmt.Sprintf("Redis %s, %d shards, appendonly %t, appendfsync %s, maxmemory %s %s, WAITAOF %t; accepted events survive %s",
		s.Version, s.Shards, s.AppendOnly, cmp.Or(s.AppendFsync, "unknown"), cmp.Or(s.MaxMemory, "unknown"), s.MaxMemoryPolicy, s.WaitAOF, s.Durability(false))
	if ws := s.Warnings(); len(ws) > 0 {
		d.bad("redis", ws[0], "%s", text)
	} else {
		d.ok("redis", "%s", text)
	}
	d.waiting(q)
}
