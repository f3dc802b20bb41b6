// Package sqlitequeue is the queue of one machine: a SQLite file of its own,
// one row a batch.
//
// One goroutine writes. It takes every operation that waits at the moment
// into one transaction, commits it with one fsync, and wakes all callers, so
// that many small requests cost as few syncs as one large one. Readers have
// connections of their own. Several processes may open one file: a server,
// workers beside it, and the queue command.
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
	"github.com/picket-edr/picket/internal/queue"
)

// Options are the bounds of a queue. The zero value is ready to use.
type Options struct {
	// MaxBytes bounds the payload bytes held; 0 means 4 GiB.
	MaxBytes int64
	// MinFreeDisk is how many bytes must be free on the file's disk for
	// Enqueue to accept; 0 means 256 MiB, below 0 nothing is checked.
	MinFreeDisk int64
	// Lease is how long a message stays with a process that no longer says
	// that it lives and cannot be looked at; 0 means 60 s. Processes on this
	// machine are looked at, so what a killed one held comes back at once.
	Lease time.Duration
	// IgnoreLost delivers messages like all others however often their
	// receivers died. It is for queues whose receivers only pass messages on,
	// and keep them leased while what they pass them to is unreachable.
	IgnoreLost bool
	// Logger hears of damage, of lost processes and of a disk that fails;
	// nil means slog.Default.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	o.MaxBytes = cmp.Or(o.MaxBytes, 4<<30)
	o.MinFreeDisk = cmp.Or(o.MinFreeDisk, 256<<20)
	o.Lease = cmp.Or(o.Lease, time.Minute)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	return o
}

// rejectedShare is the part of MaxBytes that letters of rejected events may
// take: what senders get wrong must not take the room of what they get right.
const rejectedShare = 10

// errClosed is what operations on a closed queue return.
var errClosed = errors.New("queue is closed")

// Queue is a queue.Queue and a queue.Inspector on a SQLite file.
type Queue struct {
	opt  Options
	path string
	log  *slog.Logger

	writeDB      *sql.DB // one connection, used by the writer alone
	checkpointDB *sql.DB // one connection, used by the checkpointer alone
	readDB       *sql.DB
	readMessage  *sql.Stmt // of readers: one message
	w            *writer

	ops      chan *op
	stop     chan struct{} // closed by Close
	done     chan struct{} // closed when the writer has returned
	broken   atomic.Pointer[error]
	stopOnce sync.Once
	closeErr error
}

var (
	_ queue.Queue     = (*Queue)(nil)
	_ queue.Inspector = (*Queue)(nil)
)

// Open opens the queue at path and makes it if there is none.
func Open(path string, o Options) (*Queue, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	q := &Queue{
		opt:  o.withDefaults(),
		path: path,
		ops:  make(chan *op, maxGroupOps),
		stop: make(chan struct{}),
		done: make(chan struct{}),
	}
	q.log = q.opt.Logger.With("queue", path)
	if err := q.open(); err != nil {
		q.closeFiles()
		return nil, fmt.Errorf("open queue %s: %w", path, err)
	}
	go q.w.run()
	return q, nil
}

func (q *Queue) open() error {
	// SQLite would make the file readable by all. It is never opened here
	// when it exists: closing it would drop the locks that SQLite holds on it
	// elsewhere in this process.
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
	if q.w, err = newWriter(q); err != nil { // it makes the tables
		return err
	}
	q.readMessage, err = q.readDB.Prepare("SELECT batch, events, enqueued, payload FROM message WHERE id = ?")
	return err
}

// Err returns why the queue stopped taking anything, until it is opened anew:
// the disk failed. It is nil while all is well, and when the queue is closed.
func (q *Queue) Err() error {
	if err := q.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// Close stops the writer, puts back what this queue leased, and closes the
// file. What is waiting to be written is still written.
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
	if int64(size) > q.opt.MaxBytes || size > maxPayload {
		return fmt.Errorf("enqueue batch %s of %d bytes: larger than the queue takes: %w", m.ID, size, picket.ErrInvalid)
	}
	for i := range rejected {
		size += int(deadLetterBytes(&rejected[i]))
	}
	err := q.transact(ctx, size, func(t *tx) error {
		if q.w.disk.full() {
			return fmt.Errorf("less than %d bytes free on the disk of %s: %w", q.opt.MinFreeDisk, q.path, queue.ErrFull)
		}
		if m.Events > 0 {
			if t.st.Bytes+int64(len(m.Payload)) > q.opt.MaxBytes {
				return fmt.Errorf("%d of %d bytes held: %w", t.st.Bytes, q.opt.MaxBytes, queue.ErrFull)
			}
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

// maxPayload is below what SQLite can hold in a value.
const maxPayload = 512 << 20
