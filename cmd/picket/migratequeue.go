package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/migrate"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
)

func newMigrateQueue() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "queue --from ENGINE --to ENGINE",
		Short: "Move what waits in one queue, and its dead letters, into another",
		Long: `Moves waiting batches, dead letters and counters from one queue into another, in any
direction. Stop the servers and workers first. If the command is interrupted, run
it again: it continues where it stopped, and nothing is stored twice.

picket serve --queue redis://... does the same by itself with the queue.db of its
data directory, and picket serve --queue sqlite with the disk buffer. This command
is for the way back from Redis, and for moves between servers of Redis.

From a Celery broker, the tasks of picket are moved, without results for their
producers; tasks of other programs stay.`,
		Example: `  picket migrate queue --from redis://redis:6379/0 --to sqlite --data /var/lib/picket
  picket migrate queue --from sqlite --to celery+redis://redis:6379/0 --data /var/lib/picket`,
		Args: cobra.NoArgs,
	}
	data := addDataFlag(cmd)
	from := cmd.Flags().String("from", "", "`ENGINE` of the queue that is emptied, as in --queue")
	to := cmd.Flags().String("to", "", "`ENGINE` of the queue that is filled, as in --queue")
	asJSON := cmd.Flags().Bool("json", false, "print what was moved as JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *from == "" || *to == "" || *from == *to {
			return usagef("migrate queue: --from and --to name two queues, as --queue does")
		}
		moved, err := moveQueue(cmd, dataDir(*data), *from, *to)
		if err != nil {
			return withQueueMoveHint(err)
		}
		if *asJSON {
			return printJSONLine(cmd.OutOrStdout(), moved)
		}
		_, err = fprintfPrintable(cmd.OutOrStdout(), "moved: %s with %s, %s\n",
			quantity(moved.Batches, "batch"), quantity(moved.Events, "event"), quantity(moved.DeadLetters, "dead letter"))
		if err == nil && moved.Left > 0 {
			_, err = fprintfPrintable(cmd.OutOrStdout(), "left: %s that no worker of picket takes, or that are not due\n", quantity(moved.Left, "message"))
		}
		return err
	}
	return cmd
}

func withQueueMoveHint(moveErr error) error {
	if h := (*hintedError)(nil); !errors.As(moveErr, &h) && errors.Is(moveErr, picket.ErrUnavailable) {
		return withHint(moveErr, "once the other queue answers and has room, the same command continues where it stopped")
	}
	return moveErr
}

// celeryMoveIdleTimeout is how long a move waits for more tasks: those of other programs
// stay in the lists.
const celeryMoveIdleTimeout = 10 * time.Second

// moveQueue moves a queue, and what the disk buffer of the data directory holds for it.
func moveQueue(cmd *cobra.Command, dir dataDir, from, to string) (moved migrate.MovedCounts, err error) {
	log, err := newLog(cmd)
	if err != nil {
		return moved, err
	}
	open := func(name string) (*openedQueue, error) {
		b, err := findQueueBackend(name, "reply")
		if err != nil {
			return nil, err
		}
		return b.open(cmd.Context(), name, dir, queueOptions{durability: "reply", log: log})
	}
	if from == "sqlite" {
		if _, err := os.Stat(dir.queueFile()); err != nil {
			return moved, withHint(err, "give the server's --data")
		}
	} else if to == "sqlite" {
		if err := makeDataDir(string(dir)); err != nil {
			return moved, err
		}
	}
	unlock, err := dir.lockUnused(cmd.Context(), dir.queueFile(), dir.diskBufferFile())
	if err != nil {
		return moved, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	source, err := open(from)
	if err != nil {
		return moved, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target, err := open(to)
	if err != nil {
		return moved, err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	move := migrate.QueueMover{From: source.movable, To: target.movable, Log: log, Progress: cmd.ErrOrStderr()}
	if source.celery != nil {
		move.IdleTimeout = celeryMoveIdleTimeout
	}
	if moved, err = move.Run(cmd.Context()); err != nil {
		return moved, err
	}
	buffer, err := openLeftoverQueue(dir.diskBufferFile())
	if err != nil || buffer == nil || from == "sqlite" {
		return moved, errors.Join(err, closeIfOpen(buffer))
	}
	more, err := (&migrate.QueueMover{From: buffer, To: target.movable, Buffer: true, Log: log, Progress: cmd.ErrOrStderr()}).Run(cmd.Context())
	moved.Batches += more.Batches
	moved.Events += more.Events
	moved.DeadLetters += more.DeadLetters
	return moved, errors.Join(err, buffer.Close())
}

// openLeftoverQueue opens a queue in a data directory whose server uses another one. It
// returns nil if there is none, or nothing in it.
func openLeftoverQueue(path string) (*sqlitequeue.Queue, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	q, err := sqlitequeue.Open(path, sqlitequeue.Options{IgnoreLost: true, MinFreeDisk: -1})
	if err != nil {
		return nil, withHint(fmt.Errorf("%w; an earlier queue may hold accepted events", err), "picket doctor says more; to start without them, move "+path+" away")
	}
	s, err := q.Stats(context.Background())
	if err != nil || s.Pending+s.Leased+s.Dead+s.Accepted+s.Rejected == 0 {
		return nil, errors.Join(err, q.Close())
	}
	return q, nil
}

func closeIfOpen(q *sqlitequeue.Queue) error {
	if q == nil {
		return nil
	}
	return q.Close()
}

// openLeftovers opens the queues of the data directory that earlier servers used and this
// one does not: the queue itself, if --queue is remote, and the disk buffer without one
// in use.
func (s *server) openLeftovers(dir dataDir) error {
	for _, file := range []string{dir.queueFile(), dir.diskBufferFile()} {
		if s.queue.local != nil && s.queue.localFile == file {
			continue
		}
		q, err := openLeftoverQueue(file)
		if err != nil {
			return err
		}
		if q == nil {
			continue
		}
		m := &migrate.QueueMover{From: q, To: s.queue.movable, Buffer: file == dir.diskBufferFile(), Patient: true, Log: s.log}
		s.leftovers = append(s.leftovers, leftoverQueue{file, q, m})
		if m.WithoutCounters, err = s.storeLacksDeliveries(q); err != nil {
			return err
		}
	}
	return nil
}

// A leftoverQueue is a queue that holds what an earlier server accepted.
type leftoverQueue struct {
	file  string
	queue *sqlitequeue.Queue
	move  *migrate.QueueMover
}

// storeLacksDeliveries reports whether the store has not counted what the queue
// delivered: then the counters of the queue would not add up with its.
func (s *server) storeLacksDeliveries(q *sqlitequeue.Queue) (bool, error) {
	st, err := q.Stats(s.cmd.Context())
	if err != nil {
		return false, err
	}
	t, err := s.store.Totals(s.cmd.Context())
	return t.Stored+t.Duplicate < st.Accepted-st.Failed-st.PendingEvents-st.LeasedEvents, err
}

// moveLeftovers moves what leftover queues hold into the queue, until ctx ends.
func (s *server) moveLeftovers(ctx context.Context) {
	for _, l := range s.leftovers {
		moved, err := l.move.Run(ctx)
		switch {
		case ctx.Err() != nil:
			return // the next server continues
		case err != nil:
			s.log.Error("moving an earlier queue failed; the next start tries again", "file", l.file, "error", err)
		case moved != migrate.MovedCounts{}:
			s.log.Info("moved what an earlier queue held", "file", l.file, "batches", moved.Batches, "events", moved.Events, "dead_letters", moved.DeadLetters)
		}
	}
}
