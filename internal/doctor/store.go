package doctor

import (
	"context"
	"errors"
	"os"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/redisurl"
	"github.com/picket-edr/picket/internal/store/mongostore"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
)

// CheckSQLiteStore checks the store in a file.
func CheckSQLiteStore(ctx context.Context, r *Report, path string) {
	if _, err := os.Stat(path); err != nil {
		r.addFailure("store", "picket serve makes it at its first start", "%s is not there", path)
		return
	}
	if !checkPages(ctx, r, "store", path) {
		return
	}
	s, err := sqlitestore.Open(path, sqlitestore.Options{NoBackground: true})
	if err != nil {
		r.addFailure("store", damageHint(err), "%v", err)
		return
	}
	defer s.Close()
	t, err := s.Totals(ctx)
	if err != nil {
		r.addFailure("store", damageHint(err), "%v", err)
		return
	}
	if t.DamagedBlocks > 0 {
		r.addFailure("store", repairHint, "%d damaged blocks of events are left out, with %d events", t.DamagedBlocks, t.DamagedEvents)
	}
	r.addOK("store", "%d events, %d MiB", t.Events, t.DiskBytes>>20)
}

// CheckMongoStore checks a store in MongoDB and its server.
func CheckMongoStore(ctx context.Context, r *Report, uri string) {
	d, err := mongostore.Diagnose(ctx, uri)
	if err != nil {
		r.addFailure("store", MongoHint(err), "%v", err)
		return
	}
	ws := d.Warnings()
	for _, w := range ws {
		r.addFailure("mongo", w.Hint, "%s", w.Text)
	}
	switch {
	case !d.Initialized:
		r.addFailure("store", "picket serve --store makes it at its first start", "%s", d)
	default:
		r.addOK("store", "%s", d)
	}
}

// MongoHint returns what to do about an error of mongostore.Open, "" if the error
// is clear by itself.
func MongoHint(err error) string {
	switch {
	case errors.Is(err, picket.ErrInvalid):
		return "a URI is as in mongodb://user:password@host1,host2/picket?replicaSet=rs0"
	case errors.Is(err, mongostore.ErrNoTransactions):
		return "picket needs MongoDB 4.2 or later as a replica set, of one node if need be: start mongod with --replSet rs0, and run rs.initiate() once in mongosh"
	case errors.Is(err, mongostore.ErrAccessDenied):
		return "the user needs readWrite on picket's database, and the URI ?authSource= where the user is of another"
	case errors.Is(err, picket.ErrConflict):
		return "name a database of picket's own in the URI, as in mongodb://host:27017/picket"
	case errors.Is(err, picket.ErrUnavailable):
		return "is MongoDB running there, has its replica set a primary, and does the URI name what it needs (replicaSet=, tls=true)?"
	}
	return ""
}

// CheckRedisCache checks that the Redis of the console's statistics answers.
func CheckRedisCache(ctx context.Context, r *Report, url string) {
	target, err := redisurl.Parse(url)
	if err != nil {
		r.addFailure("cache", "a URL is as in redis://host:6379/1", "%v", err)
		return
	}
	client := target.NewClient()
	defer client.Close()
	if err := client.Ping(ctx).Err(); err != nil {
		r.addFailure("cache", "is Redis running there? Until it is, each server computes the console's statistics itself", "%s: %v", target, err)
		return
	}
	r.addOK("cache", "%s answers", target)
}
