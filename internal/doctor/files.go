package doctor

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/picket-edr/picket/internal/backup"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
)

// DataFiles are the databases of a data directory, and whether the server uses them.
type DataFiles struct {
	Dir                              string
	Queue, DiskBuffer, Store         string // paths
	UsesQueue, UsesBuffer, UsesStore bool
}

const restoreHint = "picket restore restores all files from one backup; copied by hand, they must all be of one moment, with the server stopped"

// CheckFilesBelongTogether checks that the files of a data directory belong together: that
// none is missing, and that none holds accepted events that no server processes.
func CheckFilesBelongTogether(ctx context.Context, r *Report, f DataFiles) {
	if backup.IsPartlyRestored(f.Dir) {
		r.addFailure("files", "empty the directory and run picket restore again", "%s is partly restored", f.Dir)
		return
	}
	hasQueue, hasBuffer, hasStore := exists(f.Queue), exists(f.DiskBuffer), exists(f.Store)
	if f.UsesQueue && f.UsesStore && hasStore != hasQueue {
		there, missing, what := f.Store, f.Queue, "batches that were accepted and not stored yet, dead letters and counters were in it"
		if hasQueue {
			there, missing, what = f.Queue, f.Store, "all stored events, alerts and accounts were in it"
		}
		r.addFailure("files", restoreHint, "%s is there and %s is missing or empty: %s", filepath.Base(there), filepath.Base(missing), what)
	}
	for _, file := range []string{f.Queue, f.DiskBuffer, f.Store} {
		if wal := file + "-wal"; !exists(file) && exists(wal) {
			r.addFailure("files", restoreHint, "%s is there and %s is not", filepath.Base(wal), filepath.Base(file))
		}
	}
	if hasQueue && !f.UsesQueue {
		checkUnusedQueueEmpty(ctx, r, f.Queue, "picket serve --queue … moves them by itself; picket migrate queue does without a server")
	}
	if hasBuffer && !f.UsesBuffer {
		checkUnusedQueueEmpty(ctx, r, f.DiskBuffer, "picket serve moves them by itself")
	}
	if f.UsesQueue && f.UsesStore && hasQueue && hasStore {
		checkSameTime(ctx, r, f)
	}
}

// exists reports whether a file is there and is not empty. An empty one is not opened, which
// would make it a new database.
func exists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() > 0
}

// queueStats reads the stats of a queue in a file.
func queueStats(ctx context.Context, path string) (queue.Stats, error) {
	q, err := sqlitequeue.Open(path, sqlitequeue.Options{IgnoreLost: true, MinFreeDisk: -1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return queue.Stats{}, err
	}
	defer q.Close()
	return q.Stats(ctx)
}

// checkUnusedQueueEmpty checks that a queue that the server does not use is empty.
func checkUnusedQueueEmpty(ctx context.Context, r *Report, path, hint string) {
	s, err := queueStats(ctx, path)
	switch {
	case err != nil:
		r.addFailure("files", "it may hold accepted events; copy it away before anything else", "%v", err)
	case s.Pending+s.Leased+s.Dead > 0:
		r.addFailure("files", hint, "%s holds waiting batches (%d) and dead letters (%d) of an earlier queue", filepath.Base(path), s.Pending+s.Leased, s.Dead)
	}
}

// checkSameTime checks that the store has counted all events that the queue delivered: a
// store of an earlier time has not.
func checkSameTime(ctx context.Context, r *Report, f DataFiles) {
	q, err := queueStats(ctx, f.Queue) // first: what it has delivered is in the store by then
	if err != nil {
		return // reported by CheckSQLiteQueue
	}
	s, err := sqlitestore.Open(f.Store, sqlitestore.Options{NoBackground: true})
	if err != nil {
		return // reported by CheckSQLiteStore
	}
	defer s.Close()
	t, err := s.Totals(ctx)
	if err != nil {
		return
	}
	delivered := q.Accepted - q.Failed - q.PendingEvents - q.LeasedEvents
	if missing := delivered - t.Stored - t.Duplicate; missing > 0 {
		r.addWarning("files", restoreHint, "%s is older than %s: %d events that the queue delivered were never stored in it",
			filepath.Base(f.Store), filepath.Base(f.Queue), missing)
	}
}
