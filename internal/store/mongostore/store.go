package mongostore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// Options tune a Store. The zero value is what a server wants.
type Options struct {
	// Logger gets what background work has to say; nil discards it.
	Logger *slog.Logger
	// NoBackground leaves what batches brought to other processes, for a
	// command that reads.
	NoBackground bool
	// Now is the clock that alerts are opened by, and the lease of
	// correlations is reckoned by. nil: time.Now.
	Now func() time.Time

	// fault, in tests, is asked whether to fail before each write that others
	// can see, as if the process died there.
	fault func(before string) error
}

const (
	defaultDatabase = "picket"
	selectTimeout   = 5 * time.Second  // to find a server that can write
	opTimeout       = 30 * time.Second // for one operation
	scanTimeout     = 5 * time.Minute  // for one that may read a whole collection
	workTimeout     = time.Minute      // for a step that has been decided
)

// A Store is a store.Store in a MongoDB database.
type Store struct {
	opt    Options
	log    *slog.Logger
	client *mongo.Client
	db     *mongo.Database
	// What the server is; ferret: FerretDB.
	ferret                 bool
	version, ferretVersion string

	events, alerts, matches, hosts, minutes, rules, totals, batches, pending *mongo.Collection
	journal, observations, follower                                          *mongo.Collection
	tokens, users, sessions, audit                                           *mongo.Collection
	published, workers                                                       *mongo.Collection
	owners                                                                   *mongo.Collection // events, read as they are on the primary

	seq    sequence
	turn   chan struct{} // held by the goroutine that makes a step
	last   atomic.Int64  // a step that is known to be done
	lastAt atomic.Int64  // when that was seen, microseconds
	kick   chan struct{}
	disk   diskUse

	quit   context.Context // done when Close begins
	cancel context.CancelFunc
	work   sync.WaitGroup
	closed sync.Once
}

var _ store.Store = (*Store)(nil)

// Open connects to the database that uri names, as in
// mongodb://host:27017/picket, and makes the indexes that it lacks. The same
// database may be open in any number of processes.
func Open(ctx context.Context, uri string, opt Options) (*Store, error) {
	cs, err := connstring.ParseAndValidate(uri)
	if err != nil {
		return nil, fmt.Errorf("open store: %w: %w", err, picket.ErrInvalid)
	}
	s, err := open(ctx, uri, cmp.Or(cs.Database, defaultDatabase), opt)
	if err != nil {
		return nil, fmt.Errorf("open store on %v: %w", cs.Hosts, denied(err))
	}
	return s, nil
}

func open(ctx context.Context, uri, database string, opt Options) (*Store, error) {
	s, err := connect(uri, database, opt)
	if err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		s.cancel()
		return nil, errors.Join(err, s.disconnect())
	}
	if !opt.NoBackground {
		s.work.Go(s.background)
	}
	return s, nil
}

// connect returns a store that asks nothing of the server yet.
func connect(uri, database string, opt Options) (*Store, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.fault == nil {
		opt.fault = func(string) error { return nil }
	}
	journaled := true
	o := options.Client().ApplyURI(uri).SetAppName("picket").
		SetWriteConcern(&writeconcern.WriteConcern{W: "majority", Journal: &journaled}).
		SetReadConcern(readconcern.Majority()).SetReadPreference(readpref.Primary())
	if o.ServerSelectionTimeout == nil {
		o.SetServerSelectionTimeout(selectTimeout)
	}
	client, err := mongo.Connect(o)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, picket.ErrInvalid)
	}
	s := &Store{opt: opt, log: cmp.Or(opt.Logger, slog.New(slog.DiscardHandler)), client: client, db: client.Database(database),
		turn: make(chan struct{}, 1), kick: make(chan struct{}, 1)}
	s.collections()
	s.quit, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// collections names the collections. Events and alerts have the names that
// they had in the system that picket replaces.
func (s *Store) collections() {
	for name, c := range map[string]**mongo.Collection{
		"telemetry_events": &s.events, "alerts": &s.alerts, "matches": &s.matches, "hosts": &s.hosts, "rollups": &s.minutes,
		"rule_stats": &s.rules, "totals": &s.totals, "batches": &s.batches, "pending": &s.pending, "journal": &s.journal, "observations": &s.observations,
		"follower": &s.follower, "tokens": &s.tokens, "users": &s.users, "sessions": &s.sessions, "audit": &s.audit,
		"published_rules": &s.published, "workers": &s.workers,
	} {
		*c = s.db.Collection(name)
	}
	// What made an insert fail may not be on a majority yet.
	s.owners = s.db.Collection("telemetry_events", options.Collection().SetReadConcern(readconcern.Local()))
}

// background folds what batches brought, of this process and of any that died
// before it did so.
func (s *Store) background() {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	down := false
	for {
		s.disk.refresh(s.quit, s)
		select {
		case <-s.quit.Done():
			return
		case <-tick.C:
		case <-s.kick:
			select { // let some more come
			case <-s.quit.Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
		err := s.settle(s.quit)
		if err != nil && !down && s.quit.Err() == nil {
			s.log.Error("counters not brought up to date; trying again", "error", err)
		}
		down = err != nil
	}
}

// nudge tells the background that there is something to fold.
func (s *Store) nudge() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// errClosed is what calls get once Close began.
var errClosed = fmt.Errorf("the store is closed: %w", picket.ErrUnavailable)

// Close ends background work and the connections. Calls after it fail.
func (s *Store) Close() error {
	var err error
	s.closed.Do(func() {
		s.cancel()
		s.work.Wait()
		err = s.disconnect()
	})
	if err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

func (s *Store) disconnect() error {
	ctx, cancel := context.WithTimeout(context.Background(), selectTimeout)
	defer cancel()
	return s.client.Disconnect(ctx)
}
