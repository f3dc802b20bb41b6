package mongostore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/auth"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"github.com/picket-edr/picket"
)

// ErrAccessDenied means that the server does not accept the user, or does not allow
// it to do what picket needs.
var ErrAccessDenied = errors.New("access denied")

// ErrNoTransactions means that the server is too old for transactions, or a single server
// without replication.
var ErrNoTransactions = errors.New("the server has no transactions")

// A ServerInfo is what a server says of itself.
type ServerInfo struct {
	Version    string // of MongoDB
	Sharded    bool   // the server is a mongos
	ReplicaSet string // name of the replica set; "": a single server
	Members    int    // of the replica set that hold data
	clock      time.Time
	wire       int // the latest version of the protocol
}

// minMajor and minMinor are of the first version that has transactions wherever picket
// needs them.
const minMajor, minMinor = 4, 2

// readServerInfo asks the server.
func (s *Store) readServerInfo(ctx context.Context) (ServerInfo, error) {
	var build struct {
		Version string `bson:"version"`
	}
	if err := runCommand(ctx, s.db, bson.D{bsonElem("buildInfo", 1)}, &build); err != nil {
		return ServerInfo{}, fmt.Errorf("ask the server for its version: %w", err)
	}
	var hello struct {
		Set   string    `bson:"setName"`
		Hosts []string  `bson:"hosts"`
		Msg   string    `bson:"msg"`
		Local time.Time `bson:"localTime"`
		Wire  int       `bson:"maxWireVersion"`
	}
	if err := runCommand(ctx, s.db, bson.D{bsonElem("hello", 1)}, &hello); err != nil {
		return ServerInfo{}, fmt.Errorf("ask the server for its role: %w", err)
	}
	return ServerInfo{Version: build.Version, Sharded: hello.Msg == "isdbgrid", ReplicaSet: hello.Set, Members: len(hello.Hosts), clock: hello.Local, wire: hello.Wire}, nil
}

// checkTransactions returns ErrNoTransactions for a server that has none.
func (i *ServerInfo) checkTransactions() error {
	switch {
	case isOlderVersion(i.Version, minMajor, minMinor):
		return fmt.Errorf("MongoDB is %s, and picket needs %d.%d or later: %w", i.Version, minMajor, minMinor, ErrNoTransactions)
	case i.ReplicaSet == "" && !i.Sharded:
		return fmt.Errorf("MongoDB %s is not a replica set: %w", i.Version, ErrNoTransactions)
	}
	return nil
}

// A ServerReport describes a database and its server. What the user may not read
// is empty.
type ServerReport struct {
	ServerInfo
	Database string
	// NoJournal means that the server runs without a journal, and so refuses
	// everything that picket writes.
	NoJournal      bool
	ClockOffset    time.Duration // how far the server's clock is ahead of this machine's
	Initialized    bool          // picket has opened the database before
	MissingIndexes []string      // of those that picket creates when it opens the database
	Events         int64
	Alerts         int64
}

// Diagnose examines the database that uri names, without changing it. An error is
// picket.ErrInvalid if the URI is wrong, ErrAccessDenied, picket.ErrUnavailable if no
// server can write, or picket.ErrConflict if the database is not picket's.
func Diagnose(ctx context.Context, uri string) (ServerReport, error) {
	cs, err := connstring.ParseAndValidate(uri)
	if err != nil {
		return ServerReport{}, fmt.Errorf("%w: %w", err, picket.ErrInvalid)
	}
	s, err := connect(uri, cmp.Or(cs.Database, defaultDatabase), Options{})
	if err != nil {
		return ServerReport{}, err
	}
	defer s.Close()
	r, err := s.diagnose(ctx)
	if err != nil {
		return r, fmt.Errorf("diagnose store on %v: %w", cs.Hosts, markAccessDenied(err))
	}
	return r, nil
}

// Codes of errors about the user.
const (
	codeUnauthorized = 13
	codeAuthFailed   = 18
)

// markAccessDenied wraps errors about the user with ErrAccessDenied.
func markAccessDenied(err error) error {
	var server mongo.ServerError
	refused := errors.As(err, &server) && (server.HasErrorCode(codeUnauthorized) || server.HasErrorCode(codeAuthFailed))
	if _, ok := errors.AsType[*auth.Error](err); ok || refused {
		return fmt.Errorf("%w: %w", ErrAccessDenied, err)
	}
	return err
}

func (s *Store) diagnose(ctx context.Context) (ServerReport, error) {
	r := ServerReport{Database: s.db.Name()}
	for _, step := range []func(context.Context, *ServerReport) error{s.diagnoseServer, s.diagnoseCollections} {
		if err := step(ctx, &r); err != nil {
			return r, err
		}
	}
	return r, nil
}

// runCommand runs a command that only reads.
func runCommand(ctx context.Context, db *mongo.Database, command bson.D, into any) error {
	return withTimeout(ctx, opTimeout, func(ctx context.Context) error { return db.RunCommand(ctx, command).Decode(into) })
}

func (s *Store) diagnoseServer(ctx context.Context, r *ServerReport) error {
	begin := time.Now()
	var err error
	if r.ServerInfo, err = s.readServerInfo(ctx); err != nil {
		return err
	}
	took := time.Since(begin)
	if !r.clock.IsZero() {
		r.ClockOffset = r.clock.Sub(begin.Add(took / 2))
	}
	if err := r.checkTransactions(); err != nil {
		return err
	}
	// Most users may not run this command; then the setting stays unknown.
	var options struct {
		Parsed struct {
			Storage struct {
				Journal struct {
					Enabled *bool `bson:"enabled"`
				} `bson:"journal"`
			} `bson:"storage"`
		} `bson:"parsed"`
	}
	if err := runCommand(ctx, s.client.Database("admin"), bson.D{bsonElem("getCmdLineOpts", 1)}, &options); err == nil {
		enabled := options.Parsed.Storage.Journal.Enabled
		r.NoJournal = enabled != nil && !*enabled
	}
	return nil
}

func (s *Store) diagnoseCollections(ctx context.Context, r *ServerReport) error {
	var names []string
	err := withTimeout(ctx, opTimeout, func(ctx context.Context) (err error) {
		names, err = s.db.ListCollectionNames(ctx, bson.D{})
		return err
	})
	if err != nil {
		return fmt.Errorf("list collections: %w", err)
	}
	if err := s.checkOwnership(ctx); err != nil {
		return err
	}
	r.Initialized = slices.Contains(names, s.users.Name()) || slices.Contains(names, s.batches.Name())
	if !r.Initialized {
		return nil
	}
	for _, ix := range s.indexes() {
		exists, err := s.hasIndex(ctx, ix)
		if err != nil {
			return fmt.Errorf("list indexes of %s: %w", (*ix.of).Name(), err)
		}
		if !exists {
			r.MissingIndexes = append(r.MissingIndexes, (*ix.of).Name()+"."+ix.name())
		}
	}
	for c, n := range map[*mongo.Collection]*int64{s.events: &r.Events, s.alerts: &r.Alerts} {
		if *n, err = s.countDocuments(ctx, c, bson.D{}); err != nil {
			return fmt.Errorf("count %s: %w", c.Name(), err)
		}
	}
	return nil
}

// String describes the server and the database in one line.
func (r ServerReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "MongoDB %s, ", r.Version)
	if r.Sharded {
		b.WriteString("sharded")
	} else {
		fmt.Fprintf(&b, "replica set %s of %d", r.ReplicaSet, r.Members)
	}
	fmt.Fprintf(&b, ", writes wait for %s; database %s: ", r.durability(), r.Database)
	if !r.Initialized {
		b.WriteString("nothing yet")
	} else {
		fmt.Fprintf(&b, "%d events, %d alerts", r.Events, r.Alerts)
	}
	return b.String()
}

// durability says what an acknowledged write has reached.
func (r ServerReport) durability() string {
	switch {
	case r.Sharded, r.Members > 2:
		return "a majority and its journal"
	case r.Members == 2:
		return "both members and their journals"
	}
	return "the server's journal"
}

// A Warning is a problem, and what to do about it.
type Warning struct{ Text, Hint string }

// maxClockOffset is how far clocks may differ.
const maxClockOffset = time.Second

// Warnings returns what may lose events or slows picket down.
func (r ServerReport) Warnings() []Warning {
	var ws []Warning
	add := func(hint, format string, args ...any) { ws = append(ws, Warning{fmt.Sprintf(format, args...), hint}) }
	if r.NoJournal {
		add("start it without --nojournal, better as a replica set of three", "the server has no journal, so it refuses all writes of picket")
	}
	if r.Members == 2 {
		add("add a third member: of two, the loss of either stops writes", "the replica set %s has 2 members that hold data", r.ReplicaSet)
	}
	if r.ClockOffset.Abs() > maxClockOffset {
		add("set all clocks by NTP: events are ordered by the clocks of the processes that store them", "the server's clock is off by %s", r.ClockOffset.Abs().Round(100*time.Millisecond))
	}
	if len(r.MissingIndexes) > 0 {
		add("picket serve and picket worker create them when they start; their logs say why they could not",
			"indexes are missing: %s", strings.Join(r.MissingIndexes, ", "))
	}
	return ws
}

// isOlderVersion reports whether a version is below another. A version that cannot
// be parsed is not.
func isOlderVersion(version string, major, minor int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	a, err := strconv.Atoi(parts[0])
	b, err2 := strconv.Atoi(parts[1])
	return err == nil && err2 == nil && (a < major || a == major && b < minor)
}
