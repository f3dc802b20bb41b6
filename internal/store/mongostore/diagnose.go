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

// ErrAccessDenied is a server that does not know the user, or does not let it do
// what picket must.
var ErrAccessDenied = errors.New("not let in")

// A ServerReport is what there is to be known of a database and its server, without
// changing anything. What the server hides is empty.
type ServerReport struct {
	Database        string
	Version         string // of MongoDB, or of the one that FerretDB says it is like
	FerretDB        bool   // it is FerretDB, of FerretDBVersion
	FerretDBVersion string
	Sharded         bool   // it was a mongos that answered
	ReplicaSet      string // the replica set's name; "" of a single server
	Members         int    // of the set, that hold data
	// NoJournal is a server that was told to keep no journal, and so refuses
	// all that picket writes.
	NoJournal      bool
	ClockOffset    time.Duration // the server's clock before this machine's
	Initialized    bool          // picket has been here
	MissingIndexes []string      // indexes that picket makes at its start, and are not there
	Events         int64
	Alerts         int64
}

// Diagnose looks at the database that uri names. An error is picket.ErrInvalid
// where the URI is wrong, ErrAccessDenied, picket.ErrUnavailable where no server can
// write, or picket.ErrConflict where the database is somebody else's.
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
	r, err := s.inspect(ctx)
	if err != nil {
		return r, fmt.Errorf("look at store on %v: %w", cs.Hosts, denied(err))
	}
	return r, nil
}

// Codes by which a server says who may not.
const (
	codeUnauthorized = 13
	codeAuthFailed   = 18
)

// denied marks errors that are about the user.
func denied(err error) error {
	var server mongo.ServerError
	refused := errors.As(err, &server) && (server.HasErrorCode(codeUnauthorized) || server.HasErrorCode(codeAuthFailed))
	if _, ok := errors.AsType[*auth.Error](err); ok || refused {
		return fmt.Errorf("%w: %w", ErrAccessDenied, err)
	}
	return err
}

func (s *Store) inspect(ctx context.Context) (ServerReport, error) {
	r := ServerReport{Database: s.db.Name()}
	for _, look := range []func(context.Context, *ServerReport) error{s.lookServer, s.lookMember, s.lookCollections} {
		if err := look(ctx, &r); err != nil {
			return r, err
		}
	}
	return r, nil
}

// run runs a command that reads, on the server that writes go to.
func run(ctx context.Context, db *mongo.Database, command bson.D, into any) error {
	return op(ctx, opTimeout, func(ctx context.Context) error { return db.RunCommand(ctx, command).Decode(into) })
}

func (s *Store) lookServer(ctx context.Context, r *ServerReport) error {
	if err := s.ask(ctx); err != nil {
		return err
	}
	r.Version, r.FerretDB, r.FerretDBVersion = s.version, s.ferret, s.ferretVersion
	// Most users may not ask this, and need not have anything to hide.
	var options struct {
		Parsed struct {
			Storage struct {
				Journal struct {
					Enabled *bool `bson:"enabled"`
				} `bson:"journal"`
			} `bson:"storage"`
		} `bson:"parsed"`
	}
	if err := run(ctx, s.client.Database("admin"), bson.D{where("getCmdLineOpts", 1)}, &options); err == nil {
		enabled := options.Parsed.Storage.Journal.Enabled
		r.NoJournal = enabled != nil && !*enabled
	}
	return nil
}

func (s *Store) lookMember(ctx context.Context, r *ServerReport) error {
	var hello struct {
		Set   string    `bson:"setName"`
		Hosts []string  `bson:"hosts"`
		Msg   string    `bson:"msg"`
		Local time.Time `bson:"localTime"`
	}
	begin := time.Now()
	if err := run(ctx, s.db, bson.D{where("hello", 1)}, &hello); err != nil {
		return fmt.Errorf("ask the server what it is: %w", err)
	}
	took := time.Since(begin)
	r.ReplicaSet, r.Members, r.Sharded = hello.Set, len(hello.Hosts), hello.Msg == "isdbgrid"
	if !hello.Local.IsZero() {
		r.ClockOffset = hello.Local.Sub(begin.Add(took / 2))
	}
	return nil
}

func (s *Store) lookCollections(ctx context.Context, r *ServerReport) error {
	var names []string
	err := op(ctx, opTimeout, func(ctx context.Context) (err error) {
		names, err = s.db.ListCollectionNames(ctx, bson.D{})
		return err
	})
	if err != nil {
		return fmt.Errorf("list collections: %w", err)
	}
	if err := s.own(ctx); err != nil {
		return err
	}
	r.Initialized = slices.Contains(names, s.users.Name()) || slices.Contains(names, s.batches.Name())
	if !r.Initialized {
		return nil
	}
	for _, ix := range s.indexes() {
		there, err := s.hasIndex(ctx, ix)
		if err != nil {
			return fmt.Errorf("list indexes of %s: %w", (*ix.of).Name(), err)
		}
		if !there && s.uses(ix) {
			r.MissingIndexes = append(r.MissingIndexes, (*ix.of).Name()+"."+ix.name())
		}
	}
	for c, n := range map[*mongo.Collection]*int64{s.events: &r.Events, s.alerts: &r.Alerts} {
		if *n, err = s.count(ctx, c, bson.D{}); err != nil {
			return fmt.Errorf("count %s: %w", c.Name(), err)
		}
	}
	return nil
}

// String says what the server is, and what there is.
func (r ServerReport) String() string {
	var b strings.Builder
	if r.FerretDB {
		fmt.Fprintf(&b, "FerretDB %s, as MongoDB %s", r.FerretDBVersion, r.Version)
	} else {
		fmt.Fprintf(&b, "MongoDB %s, ", r.Version)
		switch {
		case r.Sharded:
			b.WriteString("sharded")
		case r.ReplicaSet != "":
			fmt.Fprintf(&b, "replica set %s of %d", r.ReplicaSet, r.Members)
		default:
			b.WriteString("a single server")
		}
	}
	fmt.Fprintf(&b, ", writes wait for %s; database %s: ", r.promise(), r.Database)
	if !r.Initialized {
		b.WriteString("nothing yet")
	} else {
		fmt.Fprintf(&b, "%d events, %d alerts", r.Events, r.Alerts)
	}
	return b.String()
}

// promise is what a batch that was acked survives, by the write concern.
func (r ServerReport) promise() string {
	switch {
	case r.FerretDB:
		return "the server alone, as its disk is set"
	case r.Sharded, r.Members > 2:
		return "a majority and its journal"
	case r.Members == 2:
		return "both members and their journals"
	}
	return "the server's journal"
}

// A Warning is what is wrong, with what to do about it.
type Warning struct{ Text, Hint string }

// clockBound is how far clocks may be apart.
const clockBound = time.Second

// Warnings are what may lose events, or makes picket slow.
func (r ServerReport) Warnings() []Warning {
	var ws []Warning
	add := func(hint, format string, args ...any) { ws = append(ws, Warning{fmt.Sprintf(format, args...), hint}) }
	if !r.FerretDB && older(r.Version, 4, 4) {
		add("picket needs MongoDB 4.4 or later", "MongoDB is %s", r.Version)
	}
	if r.NoJournal {
		add("start it without --nojournal, better as a replica set of three", "the server keeps no journal, and refuses what is to be journaled")
	}
	if r.Members == 2 {
		add("add a third member: of two, the loss of either stops writes", "the replica set %s has 2 members that hold data", r.ReplicaSet)
	}
	if r.ClockOffset.Abs() > clockBound {
		add("set all by NTP: events are in the order of the clocks of those that store them", "the server's clock is off by %s", r.ClockOffset.Abs().Round(100*time.Millisecond))
	}
	if len(r.MissingIndexes) > 0 {
		add("picket serve and picket worker make them at their start; their log says why they could not",
			"indexes are missing: %s", strings.Join(r.MissingIndexes, ", "))
	}
	return ws
}

// older reports whether a version is below another. One that can't be read is
// not.
func older(version string, major, minor int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	a, err := strconv.Atoi(parts[0])
	b, err2 := strconv.Atoi(parts[1])
	return err == nil && err2 == nil && (a < major || a == major && b < minor)
}
