package mongostore

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
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

// Options configure a Store. The zero value is right for a server.
type Options struct {
	// Logger logs what goes wrong in background work; nil: nothing.
	Logger *slog.Logger
	// MaxNewAlerts is how many alerts the events of one agent open in a minute; see
	// store.Quota. 0: store.DefaultMaxNewAlerts; negative: no bound.
	MaxNewAlerts int
	// NoBackground leaves background work to other processes, for a command that
	// reads.
	NoBackground bool
	// Now is the clock for alerts and for the correlation lease; nil: time.Now.
	Now func() time.Time

	// fault is for tests. It is called before each write that other processes can
	// see, with the name of the collection or "commit"; if it returns an error, the
	// operation fails there, as if the process had crashed.
	fault func(before string) error
	// noBulkWrite is for tests: the server is treated as one without the command bulkWrite.
	noBulkWrite bool
}

const (
	defaultDatabase = "picket"
	selectTimeout   = 5 * time.Second  // to find a server that can write
	opTimeout       = 30 * time.Second // for one operation
	scanTimeout     = 5 * time.Minute  // for an operation that may read a whole collection
	maxConnections  = 32               // of a process, unless the URI has maxPoolSize
)

// A Store is a store.Store in a MongoDB database.
type Store struct {
	options                                                         Options
	log                                                             *slog.Logger
	client                                                          *mongo.Client
	db                                                              *mongo.Database
	events, alerts, matches, hosts, hostActivity, counters, batches *mongo.Collection
	observations, correlations                                      *mongo.Collection
	tokens, users, sessions, audit                                  *mongo.Collection
	publishedRules, workers, secrets                                *mongo.Collection
	eventsLocal                                                     *mongo.Collection // events, read with read concern "local"

	process      string // identifies this process
	hasBulkWrite bool   // the server has the command bulkWrite

	seq        *sequenceGenerator
	quotaLock  sync.Mutex // guards quota
	quota      *store.Quota
	types      typeLimiter
	knownHosts hostSet
	disk       diskUsage

	quit       context.Context // canceled when Close begins
	cancel     context.CancelFunc
	goroutines sync.WaitGroup
	closed     sync.Once
}

var _ store.Store = (*Store)(nil)

// Open connects to the database that uri names, as in
// mongodb://host:27017/picket, and creates the indexes that are missing. Any
// number of processes may have the same database open.
func Open(ctx context.Context, uri string, opt Options) (*Store, error) {
	cs, err := connstring.ParseAndValidate(uri)
	if err != nil {
		return nil, fmt.Errorf("open store: %w: %w", err, picket.ErrInvalid)
	}
	s, err := open(ctx, uri, cmp.Or(cs.Database, defaultDatabase), opt)
	if err != nil {
		return nil, fmt.Errorf("open store on %v: %w", cs.Hosts, markAccessDenied(err))
	}
	return s, nil
}

func open(ctx context.Context, uri, database string, opt Options) (*Store, error) {
	s, err := connect(uri, database, opt)
	if err != nil {
		return nil, err
	}
	if err := s.prepareDatabase(ctx); err != nil {
		s.cancel()
		return nil, errors.Join(err, s.disconnect())
	}
	if !opt.NoBackground {
		s.goroutines.Go(s.runBackground)
	}
	return s, nil
}

// connect returns a store that has not sent anything to the server yet.
func connect(uri, database string, opt Options) (*Store, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.fault == nil {
		opt.fault = func(string) error { return nil }
	}
	o, err := clientOptions(uri)
	if err != nil {
		return nil, err
	}
	client, err := mongo.Connect(o)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, picket.ErrInvalid)
	}
	s := &Store{options: opt, log: cmp.Or(opt.Logger, slog.New(slog.DiscardHandler)), client: client, db: client.Database(database),
		quota: store.NewQuota(opt.MaxNewAlerts), seq: newSequenceGenerator(), process: rand.Text()}
	s.openCollections()
	s.quit, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// clientOptions returns how the driver connects.
func clientOptions(uri string) (*options.ClientOptions, error) {
	journaled := true
	o := options.Client().ApplyURI(uri).SetAppName("picket").
		SetWriteConcern(&writeconcern.WriteConcern{W: "majority", Journal: &journaled}).
		SetReadConcern(readconcern.Majority()).SetReadPreference(readpref.Primary())
	if o.ServerSelectionTimeout == nil {
		o.SetServerSelectionTimeout(selectTimeout)
	}
	if o.MaxPoolSize == nil {
		o.SetMaxPoolSize(maxConnections)
	}
	if o.Timeout == nil {
		o.SetTimeout(opTimeout) // also of what a transaction does after its context has ended
	}
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", err, picket.ErrInvalid)
	}
	return o, nil
}

// openCollections opens the collections. Events and alerts have the names that
// they have in the legacy system.
func (s *Store) openCollections() {
	for name, c := range map[string]**mongo.Collection{
		"telemetry_events": &s.events, "alerts": &s.alerts, "matches": &s.matches, "hosts": &s.hosts, "host_activity": &s.hostActivity,
		"counters": &s.counters, "batches": &s.batches, "observations": &s.observations,
		"follower": &s.correlations, "tokens": &s.tokens, "users": &s.users, "sessions": &s.sessions, "audit": &s.audit,
		"published_rules": &s.publishedRules, "workers": &s.workers, "secrets": &s.secrets,
	} {
		*c = s.db.Collection(name)
	}
	// A document that made an insert fail may not be on a majority yet.
	s.eventsLocal = s.db.Collection("telemetry_events", options.Collection().SetReadConcern(readconcern.Local()))
}

// runBackground applies the activity of hosts, keeps the size on disk at hand and merges
// the counters of past minutes.
func (s *Store) runBackground() {
	tick := time.NewTicker(hostActivityEvery)
	defer tick.Stop()
	failing := false
	for merged := time.Now(); ; {
		s.disk.refresh(s.quit, s)
		err := s.applyOwnHostActivity(s.quit, time.Now())
		if err == nil && time.Since(merged) > minuteMergeEvery {
			merged = time.Now()
			err = s.mergeMinutes(s.quit, merged)
		}
		if err != nil && !failing && s.quit.Err() == nil {
			s.log.Warn("background work on the store failed; retrying", "error", err)
		}
		failing = err != nil
		select {
		case <-s.quit.Done():
			return
		case <-tick.C:
		}
	}
}

// errClosed is the error of calls after Close has begun.
var errClosed = fmt.Errorf("the store is closed: %w", picket.ErrUnavailable)

// Close stops background work and closes the connections. Later calls fail.
func (s *Store) Close() error {
	var err error
	s.closed.Do(func() {
		s.cancel()
		s.goroutines.Wait()
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
