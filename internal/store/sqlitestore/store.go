package sqlitestore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/sqlitefile"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
)

// Options configure a Store. The zero value is right for a server.
type Options struct {
	// Logger logs what goes wrong in background work; nil: nothing.
	Logger *slog.Logger
	// DedupeWindowEvents is how many of the last events are recognized; an older
	// event that is sent again is stored again. 0: 1,000,000, which takes 34 MB of
	// memory.
	DedupeWindowEvents int
	// BlockEvents is how many events a full block has. 0: 2,048.
	BlockEvents int
	// MaxNewAlerts is how many alerts the events of one agent open in a minute; see
	// store.Quota. 0: store.DefaultMaxNewAlerts; negative: no bound.
	MaxNewAlerts int
	// NoBackground leaves merging blocks to other processes that have the file
	// open (for a command that reads) or to Compact.
	NoBackground bool
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

const (
	defaultDedupeWindowEvents = 1_000_000
	defaultBlockEvents        = 2048
	maxBlockRawBytes          = 4 << 20 // of events; a block is also full at this size

	batchIDRetention = 7 * 24 * time.Hour
	lookupPoolConns  = 4 // in lookupDB
	// startCheckTimeout bounds the search for damage in the tables at the start.
	startCheckTimeout = 2 * time.Second
	busyTimeout       = 30 * time.Second // how long to wait for another process that writes
)

// A Store is a store.Store in one SQLite file.
type Store struct {
	options Options
	log     *slog.Logger
	readDB  *sql.DB // a pool of read-only connections
	// lookupDB is another one, for what must not wait for searches and lists:
	// accounts, health, and what workers and servers ask.
	lookupDB *sql.DB
	writeDB  *sql.DB // the connection of the writer
	writer   *writer
	// auditHead has the newest and the oldest number of the audit log.
	auditHead *auditHeadFile

	dedup     *eventDeduper
	damaged   damagedBlocks
	builders  pool[*block.Encoder]
	searchers pool[*block.Searcher]
	// extraSearchers has a unit for each core that a search may use besides its
	// first one.
	extraSearchers *semaphore.Weighted

	quit       context.Context // canceled when Close begins
	cancel     context.CancelFunc
	goroutines sync.WaitGroup
	backlog    *compactionBacklog
	closed     sync.Once
}

var _ store.Store = (*Store)(nil)

// Open opens the store in the file at path, or creates it. Several processes may
// have the same file open.
func Open(path string, opt Options) (*Store, error) {
	s, err := open(path, opt)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, sqlitefile.WrapDamage(err))
	}
	return s, nil
}

func open(path string, opt Options) (*Store, error) {
	ctx := context.Background()
	opt.DedupeWindowEvents = cmp.Or(opt.DedupeWindowEvents, defaultDedupeWindowEvents)
	opt.BlockEvents = min(cmp.Or(opt.BlockEvents, defaultBlockEvents), 1<<14)
	if opt.Now == nil {
		opt.Now = time.Now
	}
	s := &Store{options: opt, log: cmp.Or(opt.Logger, slog.New(slog.DiscardHandler)), auditHead: newAuditHeadFile(path)}
	s.builders = newPool(block.NewEncoder)
	frames := block.NewFrameCache()
	s.searchers = newPool(func() *block.Searcher { return block.NewSearcher(frames) })
	s.extraSearchers = semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0)) - 1)
	s.backlog = newCompactionBacklog(!opt.NoBackground)
	s.quit, s.cancel = context.WithCancel(ctx)

	// Readable by the owner only; SQLite gives its other files the same mode.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	if s.writeDB, err = openDB(path, "auto_vacuum(incremental)", "journal_mode(wal)", "synchronous(full)", "cache_size(-8000)"); err != nil {
		return nil, err
	}
	conn, err := s.writeDB.Conn(ctx)
	if err != nil {
		return nil, errors.Join(err, s.writeDB.Close())
	}
	if err := migrate(ctx, conn); err != nil {
		return nil, errors.Join(err, s.writeDB.Close())
	}
	if s.readDB, err = openDB(path, "query_only(1)", "cache_size(-2000)"); err != nil {
		return nil, errors.Join(err, s.writeDB.Close())
	}
	s.readDB.SetMaxOpenConns(8 + 2*runtime.GOMAXPROCS(0))
	s.readDB.SetMaxIdleConns(1 + runtime.GOMAXPROCS(0))
	if s.lookupDB, err = openDB(path, "query_only(1)", "cache_size(-500)"); err != nil {
		return nil, errors.Join(err, s.readDB.Close(), s.writeDB.Close())
	}
	s.lookupDB.SetMaxOpenConns(lookupPoolConns)
	s.lookupDB.SetMaxIdleConns(lookupPoolConns)
	if !opt.NoBackground {
		check, cancel := context.WithTimeout(ctx, startCheckTimeout)
		err = checkTables(check, s.lookupDB)
		cancel()
	}
	if err == nil {
		s.writer, err = newWriter(s, conn)
	}
	if err == nil {
		s.dedup, err = s.loadEventDeduper(ctx)
	}
	if err != nil {
		s.cancel()
		return nil, errors.Join(err, s.lookupDB.Close(), s.readDB.Close(), s.writeDB.Close())
	}
	s.goroutines.Go(s.writer.run)
	if !opt.NoBackground {
		s.goroutines.Go(s.compactInBackground)
	}
	return s, nil
}

func openDB(path string, pragmas ...string) (*sql.DB, error) {
	return sqlitefile.Open(path, append([]string{fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds())}, pragmas...)...)
}

// errClosed is the error of calls after Close has begun.
var errClosed = fmt.Errorf("the store is closed: %w", picket.ErrUnavailable)

// Close waits for the current transaction and closes the file. Later calls fail.
func (s *Store) Close() error {
	var err error
	s.closed.Do(func() {
		s.cancel()
		s.writer.stop()
		s.goroutines.Wait()
		err = errors.Join(s.lookupDB.Close(), s.readDB.Close(), s.writer.closeConn(), s.writeDB.Close())
	})
	if err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}
