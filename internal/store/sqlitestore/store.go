package sqlitestore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// Options tune a Store. The zero value is what a server wants.
type Options struct {
	// Logger gets what background work has to say; nil discards it.
	Logger *slog.Logger
	// DedupeWindow is how many of the last event ids are known again; older
	// ones are stored twice if they are sent twice. 0: 1,000,000, which takes
	// 17 MB of memory.
	DedupeWindow int
	// BlockEvents is how many events a full block has. 0: 2,048.
	BlockEvents int
	// NoBackground leaves the merging of blocks to other processes that have
	// the file open, for a command that reads, or to Compact.
	NoBackground bool
	// Now is the clock that alerts are opened by. nil: time.Now.
	Now func() time.Time
}

const (
	defaultDedupeWindow = 1_000_000
	defaultBlockEvents  = 2048
	blockBytes          = 4 << 20 // a block is full at that many bytes of events, too

	batchIDRetention = 7 * 24 * time.Hour // for how long the ids of saved batches are kept
	busyTimeout      = 30 * time.Second   // how long to wait for another process that writes
)

// A Store is a store.Store in one SQLite file.
type Store struct {
	options Options
	log     *slog.Logger
	readDB  *sql.DB // a pool of read-only connections
	writeDB *sql.DB // the writer's
	writer  *writer

	dedup     *deduper
	builders  freeList[*Builder]
	searchers freeList[*Searcher]

	quit       context.Context // done when Close begins
	cancel     context.CancelFunc
	goroutines sync.WaitGroup // goroutines of the store
	compactor  *compactor
	closed     sync.Once
}

var _ store.Store = (*Store)(nil)

// Open opens the store in the file at path, and makes it if there is none. The
// same file may be open in several processes.
func Open(path string, opt Options) (*Store, error) {
	s, err := open(path, opt)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return s, nil
}

func open(path string, opt Options) (*Store, error) {
	ctx := context.Background()
	opt.DedupeWindow = cmp.Or(opt.DedupeWindow, defaultDedupeWindow)
	opt.BlockEvents = min(cmp.Or(opt.BlockEvents, defaultBlockEvents), 1<<14)
	if opt.Now == nil {
		opt.Now = time.Now
	}
	s := &Store{options: opt, log: cmp.Or(opt.Logger, slog.New(slog.DiscardHandler))}
	s.builders = newFreeList(NewBuilder)
	frames := NewFrameCache()
	s.searchers = newFreeList(func() *Searcher { return NewSearcher(frames) })
	s.compactor = newCompactor(!opt.NoBackground)
	s.quit, s.cancel = context.WithCancel(ctx)

	// Nobody else's to read; SQLite gives its other files the same mode.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	if s.writeDB, err = sql.Open("sqlite", dsn(path, "auto_vacuum(incremental)", "journal_mode(wal)", "synchronous(full)", "cache_size(-8000)")); err != nil {
		return nil, err
	}
	conn, err := s.writeDB.Conn(ctx)
	if err != nil {
		return nil, errors.Join(err, s.writeDB.Close())
	}
	if err := migrate(ctx, conn); err != nil {
		return nil, errors.Join(err, s.writeDB.Close())
	}
	if s.readDB, err = sql.Open("sqlite", dsn(path, "query_only(1)", "cache_size(-2000)")); err != nil {
		return nil, errors.Join(err, s.writeDB.Close())
	}
	s.readDB.SetMaxOpenConns(4 + 2*runtime.GOMAXPROCS(0))
	s.readDB.SetMaxIdleConns(1 + runtime.GOMAXPROCS(0))
	if s.writer, err = newWriter(s, conn); err != nil {
		return nil, errors.Join(err, s.readDB.Close(), s.writeDB.Close())
	}
	if s.dedup, err = s.loadDeduper(ctx); err != nil {
		return nil, errors.Join(err, s.readDB.Close(), s.writeDB.Close())
	}
	s.goroutines.Go(s.writer.run)
	if !opt.NoBackground {
		s.goroutines.Go(s.runBackground)
	}
	return s, nil
}

func dsn(path string, pragmas ...string) string {
	q := url.Values{"_pragma": append([]string{fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds())}, pragmas...)}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: q.Encode()}).String()
}

// errClosed is what calls get once Close began.
var errClosed = fmt.Errorf("the store is closed: %w", picket.ErrUnavailable)

// Close waits for what is being saved and closes the file. Calls after it fail.
func (s *Store) Close() error {
	var err error
	s.closed.Do(func() {
		s.cancel()
		s.writer.stop()
		s.goroutines.Wait()
		err = errors.Join(s.readDB.Close(), s.writer.close(), s.writeDB.Close())
	})
	if err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}
