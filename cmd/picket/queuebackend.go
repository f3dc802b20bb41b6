package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/celeryworker"
	"github.com/picket-edr/picket/internal/doctor"
	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/legacy"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/celeryqueue"
	"github.com/picket-edr/picket/internal/queue/diskbuffer"
	"github.com/picket-edr/picket/internal/queue/redisqueue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/redisurl"
	"github.com/picket-edr/picket/internal/sqlitefile"
	"github.com/picket-edr/picket/internal/worker"
)

// A queueBackend is one kind of queue that --queue can name.
type queueBackend struct {
	// accepts reports whether a value of --queue names this backend.
	accepts func(name string) bool
	// local is a queue in the data directory.
	local bool
	// fsync is whether --redis-durability fsync is supported.
	fsync bool
	// open opens the queue. A backend that is not local may be behind a disk
	// buffer.
	open func(ctx context.Context, name string, dir dataDir, o queueOptions) (*openedQueue, error)
	// diagnose reports on the queue and its server.
	diagnose func(ctx context.Context, r *doctor.Report, name, durability string, dir dataDir)
}

var queueBackends = []queueBackend{
	{
		accepts: func(name string) bool { return name == "sqlite" },
		local:   true,
		fsync:   true, // ignored: every commit is fsynced
		open:    openSQLiteQueue,
		diagnose: func(ctx context.Context, r *doctor.Report, _, _ string, dir dataDir) {
			doctor.CheckSQLiteQueue(ctx, r, dir.queueFile())
		},
	},
	{
		accepts: redisurl.IsURL,
		fsync:   true,
		open: func(ctx context.Context, name string, dir dataDir, o queueOptions) (*openedQueue, error) {
			q, err := redisqueue.Open(ctx, name, redisqueue.Options{
				MaxBytes: o.maxBytes, Fsync: o.durability == "fsync", Lazy: o.mayConnectLater(), Logger: o.log})
			if err != nil {
				return nil, withRedisHint(err)
			}
			return bufferOnDisk(&openedQueue{inspectableQueue: q, movable: q, ready: statsCheck(q)}, q, q, dir, o)
		},
		diagnose: func(ctx context.Context, r *doctor.Report, name, durability string, _ dataDir) {
			doctor.CheckRedisQueue(ctx, r, name, durability == "fsync")
		},
	},
	{
		accepts: celeryqueue.IsURL,
		open: func(ctx context.Context, name string, dir dataDir, o queueOptions) (*openedQueue, error) {
			q, err := celeryqueue.Open(ctx, name, celeryqueue.Options{
				MaxBytes: o.maxBytes, Lazy: o.mayConnectLater(), Event: newEventReaderPool(o.idSecret).Read, Logger: o.log})
			if err != nil {
				return nil, withRedisHint(err)
			}
			return bufferOnDisk(&openedQueue{inspectableQueue: q, movable: q, ready: statsCheck(q), celery: q}, q, nil, dir, o)
		},
		diagnose: func(ctx context.Context, r *doctor.Report, name, _ string, _ dataDir) {
			doctor.CheckCeleryQueue(ctx, r, name, newEventReaderPool(nil).Read)
		},
	},
}

const queueUsage = "`ENGINE` of the queue: sqlite, a Redis URL such as redis://HOST:6379/0, or a Celery broker such as celery+redis://HOST:6379/0"

// addQueueFlag adds --queue to a command.
func addQueueFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("queue", "sqlite", queueUsage)
}

// findQueueBackend returns the backend that --queue names, if it supports the
// value of --redis-durability.
func findQueueBackend(name, durability string) (*queueBackend, error) {
	for i := range queueBackends {
		b := &queueBackends[i]
		switch {
		case !b.accepts(name):
			continue
		case durability != "reply" && !b.fsync:
			return nil, usagef("--redis-durability is for redis://; a Celery broker gives what its own settings do")
		case durability != "reply" && durability != "fsync":
			return nil, usagef("--redis-durability %q is neither reply nor fsync", durability)
		}
		return b, nil
	}
	return nil, usagef("--queue %q: it is neither sqlite, nor a URL of Redis (redis://), nor one of a Celery broker (celery+redis://)", withoutPassword(name))
}

// withoutPassword removes the part of a URL that may hold a password.
func withoutPassword(url string) string {
	if at := strings.LastIndexByte(url, '@'); at >= 0 {
		return "…" + url[at:]
	}
	return url
}

// queueOptions are the settings of all queue backends.
type queueOptions struct {
	maxBytes, minFree int64
	durability        string // of Redis: reply or fsync
	bufferBytes       int64  // of the disk buffer that is used while the queue is unreachable; 0: no buffer
	lazy              bool   // open a remote queue even if it is unreachable
	checkFile         bool   // look for damage in a local queue
	idSecret          []byte // for events that other programs publish without an id
	log               *slog.Logger
}

// mayConnectLater reports whether a remote queue may be unreachable at the start.
func (o queueOptions) mayConnectLater() bool { return o.lazy || o.bufferBytes > 0 }

// An openedQueue is the queue that --queue names.
type openedQueue struct {
	inspectableQueue
	// ready returns why the intake cannot enqueue, nil if it can.
	ready func(ctx context.Context) error
	// movable is the queue itself, or the one behind the disk buffer.
	movable queue.Movable
	// local is the file in the data directory: the queue itself or its disk buffer; nil if
	// there is none.
	local     *sqlitequeue.Queue
	localFile string // its path
	// buffer is the disk buffer in front of a remote queue; nil if there is none.
	buffer *diskbuffer.Queue
	// celery is the queue itself, or the one behind the disk buffer, if that is
	// on a Celery broker; otherwise nil.
	celery *celeryqueue.Queue
}

type inspectableQueue interface {
	queue.Queue
	queue.Inspector
}

// openQueue opens the queue that --queue names.
func openQueue(ctx context.Context, name string, dir dataDir, o queueOptions) (*openedQueue, error) {
	b, err := findQueueBackend(name, o.durability)
	if err != nil {
		return nil, err
	}
	return b.open(ctx, name, dir, o)
}

// queueDamageCheckTimeout bounds the search for damage in a queue at the start of a
// server.
const queueDamageCheckTimeout = 5 * time.Second

// checkQueueFile returns an error if pages of a queue are damaged.
func checkQueueFile(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, queueDamageCheckTimeout)
	defer cancel()
	pages, err := sqlitefile.CheckPages(ctx, path)
	switch {
	case isDamage(err):
		return fmt.Errorf("open queue: %w", err)
	case pages.Damaged > 0:
		return fmt.Errorf("open queue %s: %s: %w", path, pages.DamageText(), queue.ErrDamaged)
	}
	return nil // opening the file shows other errors
}

func openSQLiteQueue(ctx context.Context, _ string, dir dataDir, o queueOptions) (*openedQueue, error) {
	if err := dir.checkQueueNotLost(); err != nil {
		return nil, err
	}
	if st, err := os.Stat(dir.queueFile()); o.checkFile && err == nil && st.Size() > 0 {
		if err := checkQueueFile(ctx, dir.queueFile()); err != nil {
			return nil, withFileHint(err)
		}
	}
	q, err := sqlitequeue.Open(dir.queueFile(), sqlitequeue.Options{MaxBytes: o.maxBytes, MinFreeDisk: o.minFree, Logger: o.log})
	if err != nil {
		return nil, withFileHint(err)
	}
	ready := statsCheck(q)
	return &openedQueue{inspectableQueue: q, movable: q, local: q, localFile: dir.queueFile(), ready: func(ctx context.Context) error { return cmp.Or(q.CheckWritable(), ready(ctx)) }}, nil
}

// statsCheck returns a readiness check: the queue answers.
func statsCheck(q queue.Inspector) func(context.Context) error {
	return func(ctx context.Context) error { _, err := q.Stats(ctx); return err }
}

func withRedisHint(err error) error {
	if errors.Is(err, picket.ErrUnavailable) {
		return withHint(err, "is Redis running, and --queue its URL? picket doctor --queue shows what it says")
	}
	return err
}

// bufferOnDisk puts a disk buffer in front of a remote queue, if o asks for one:
// the intake then accepts batches while the queue is unreachable.
func bufferOnDisk(q *openedQueue, remote diskbuffer.NextQueue, deduplicator diskbuffer.Deduplicator, dir dataDir, o queueOptions) (*openedQueue, error) {
	if o.bufferBytes <= 0 {
		return q, nil
	}
	if err := checkFileNotLost(dir.diskBufferFile(), hadQueueFile(dir.diskBufferFile())); err != nil {
		return nil, errors.Join(err, remote.Close())
	}
	buffer, err := sqlitequeue.Open(dir.diskBufferFile(), sqlitequeue.Options{MaxBytes: o.bufferBytes, MinFreeDisk: o.minFree, IgnoreLost: true, Logger: o.log})
	if err != nil {
		return nil, errors.Join(withFileHint(err), remote.Close())
	}
	buffered, err := diskbuffer.New(remote, buffer, diskbuffer.Options{Deduplicator: deduplicator, Logger: o.log})
	if err != nil {
		return nil, errors.Join(err, buffer.Close(), remote.Close())
	}
	return &openedQueue{inspectableQueue: buffered, movable: q.movable, ready: buffered.CheckWritable, local: buffer, localFile: dir.diskBufferFile(), buffer: buffered, celery: q.celery}, nil
}

// resultReporter returns where the workers report results; nil if senders wait for none.
func (q *openedQueue) resultReporter() queue.ResultReporter {
	if q.celery == nil {
		return nil
	}
	return q.celery
}

// newCeleryNode makes this process a node among the broker's Celery workers, if the queue
// is on a Celery broker. It is called before w runs. run runs the node until ctx ends.
func (q *openedQueue) newCeleryNode(w *worker.Worker, shutdown func(), log *slog.Logger) (run func(ctx context.Context)) {
	if q.celery == nil {
		return func(context.Context) {}
	}
	return celeryworker.New(q.celery, celeryworker.NodeOptions{Pool: w, Shutdown: shutdown, Version: version, Logger: log}).Run
}

// openQueueBesideServer opens the queue for a command that runs beside the server. A
// remote queue needs no data directory.
func openQueueBesideServer(ctx context.Context, name, data string) (*openedQueue, error) {
	b, err := findQueueBackend(name, "reply")
	if err != nil {
		return nil, err
	}
	dir := dataDir(data)
	if b.local {
		if dir, err = existingDataDir(data); err != nil {
			return nil, err
		}
	}
	return b.open(ctx, name, dir, queueOptions{durability: "reply", log: slog.New(slog.DiscardHandler)})
}

// An eventReaderPool reads the events of tasks that other programs published. It is
// safe for concurrent use.
type eventReaderPool struct{ pool sync.Pool }

func newEventReaderPool(idSecret []byte) *eventReaderPool {
	return &eventReaderPool{sync.Pool{New: func() any { return ingest.NewRawEventReader("celery", legacy.Validator{}, idSecret) }}}
}

// Read reads one event; see ingest.RawEventReader.
func (p *eventReaderPool) Read(raw []byte, id string, received time.Time) (picket.Event, error) {
	r := p.pool.Get().(*ingest.RawEventReader)
	defer p.pool.Put(r)
	return r.Read(raw, id, received)
}
