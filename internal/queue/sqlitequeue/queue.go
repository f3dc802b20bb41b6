// Package sqlitequeue implements the queue of a single machine: a SQLite file
// with one row per batch.
//
// One goroutine writes. It gathers all waiting operations into one transaction,
// commits that with one fsync, and then wakes all callers. Many small requests
// therefore need no more fsyncs than one large one. Readers have their own
// connections. Several processes can open the same file: the server, workers
// and the queue command.
package sqlitequeue

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/groupcommit"
	"github.com/picket-edr/picket/internal/queue"
)

// Options configure a queue. The zero value is ready to use.
type Options struct {
	// MaxBytes bounds the payload bytes held; 0 means 4 GiB.
	MaxBytes int64
	// MinFreeDisk is how many bytes must be free on the file's disk; with less,
	// Enqueue returns queue.ErrDiskFull. 0: no minimum.
	MinFreeDisk int64
	// Lease is how long the messages leased by a process on another machine or
	// in another container stay with it after it stopped renewing its lease;
	// 0 means 60 s. A process on this machine is looked up by its PID, so what
	// it leased is delivered again as soon as it has died.
	Lease time.Duration
	// IgnoreLost turns off the isolation and dead-lettering of messages whose
	// receivers died. It is for queues whose receivers only forward messages and
	// keep them leased while the destination is unreachable.
	IgnoreLost bool
	Logger     *slog.Logger // nil means slog.Default
}

func (o Options) withDefaults() Options {
	o.MaxBytes = cmp.Or(o.MaxBytes, 4<<30)
	o.Lease = cmp.Or(o.Lease, time.Minute)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	return o
}

// DefaultMinFreeDisk is the MinFreeDisk of servers and agents.
const DefaultMinFreeDisk = 256 << 20

// rejectedBytesDivisor limits the dead letters of rejected events to this fraction of
// MaxBytes, so that invalid events cannot displace valid ones.
const rejectedBytesDivisor = 10

// errClosed is returned by operations on a closed queue.
var errClosed = errors.New("queue is closed")

// A Queue implements queue.Queue and queue.Inspector on a SQLite file.
type Queue struct {
	opt  Options
	path string
	log  *slog.Logger

	writeDB      *sql.DB // one connection, used only by the writer
	checkpointDB *sql.DB // one connection, used only by the checkpointer
	readDB       *sql.DB
	readMessage  *sql.Stmt // on readDB
	w            *writer
	moveDedup    moveDedup

	ops      groupcommit.Queue[*op]
	stop     chan struct{}         // closed by Close
	done     chan struct{}         // closed when the writer has returned
	broken   atomic.Pointer[error] // see Err
	stopOnce sync.Once
	closeErr error
}

var (
	_ queue.Queue     = (*Queue)(nil)
	_ queue.Inspector = (*Queue)(nil)
)

// Open opens the queue at path and creates it if it does not exist.
func Open(path string, o Options) (*Queue, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	q := &Queue{
		opt:  o.withDefaults(),
		path: path,
		stop: make(chan struct{}),
		done: make(chan struct{}),
	}
	q.ops = groupcommit.Queue[*op]{MaxOps: 1024, MaxBytes: 4 << 20, C: make(chan *op, 1024), Closed: q.stop, Ended: q.done, ErrClosed: errClosed}
	q.log = q.opt.Logger.With("queue", path)
	if err := q.open(); err != nil {
		q.closeFiles()
		return nil, fmt.Errorf("open queue %s: %w", path, asDamage(err))
	}
	go q.w.run()
	return q, nil
}

func (q *Queue) open() error {
	// SQLite would create the file readable by everyone. An existing file must
	// not be opened here: closing it would release the locks that SQLite holds
	// on it elsewhere in this process.
	f, err := os.OpenFile(q.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		err = f.Close()
	} else if errors.Is(err, os.ErrExist) {
		err = nil
	}
	if err != nil {
		return err
	}
	q.writeDB, err = openDB(q.path, 1)
	if err != nil {
		return err
	}
	if q.checkpointDB, err = openDB(q.path, 1); err != nil {
		return err
	}
	if q.readDB, err = openDB(q.path, 4, "query_only(1)"); err != nil {
		return err
	}
	if q.w, err = newWriter(q); err != nil { // creates the tables
		return err
	}
	q.readMessage, err = q.readDB.Prepare("SELECT batch, events, enqueued, payload FROM message WHERE id = ?")
	return err
}

// Err returns the disk error after which the queue refuses all operations until
// it is opened again, or nil.
func (q *Queue) Err() error {
	if err := q.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// Close commits the operations that are waiting, releases this queue's leases
// and closes the file.
func (q *Queue) Close() error {
	q.stopOnce.Do(func() {
		close(q.stop)
		<-q.done
		q.closeErr = errors.Join(q.w.closeErr, q.closeFiles())
	})
	return q.closeErr
}

func (q *Queue) closeFiles() error {
	var errs []error
	if q.w != nil {
		errs = append(errs, q.w.marker.close())
	}
	for _, db := range []*sql.DB{q.readDB, q.checkpointDB, q.writeDB} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// Enqueue implements queue.Queue.
func (q *Queue) Enqueue(ctx context.Context, m queue.Message, rejected ...queue.DeadLetter) error {
	size := len(m.Payload)
	if int64(size) > q.opt.MaxBytes || size > maxPayloadBytes {
		return fmt.Errorf("enqueue batch %s of %d bytes: larger than the queue allows: %w", m.ID, size, picket.ErrInvalid)
	}
	for i := range rejected {
		size += int(deadLetterBytes(&rejected[i]))
	}
	err := q.transact(ctx, size, func(t *tx) error {
		bytes := int64(len(m.Payload))
		if m.Events == 0 {
			bytes = 0 // only the rejected events are kept, as far as there is space
		}
		if err := t.checkCapacity(bytes); err != nil {
			return err
		}
		if m.Events > 0 {
			if err := t.addMessage(m); err != nil {
				return err
			}
		}
		return t.addRejected(rejected)
	})
	if err != nil {
		return fmt.Errorf("enqueue batch %s: %w", m.ID, err)
	}
	return nil
}

// maxPayloadBytes is below SQLite's limit for a value.
const maxPayloadBytes = 512 << 20
