package mongostore

import (
	"context"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
)

// An indexSpec describes an index: its keys as "name: field -field …", where - is
// descending. docs/scale.md says what each is for.
type indexSpec struct {
	of   **mongo.Collection
	keys string
	kind indexKind
}

type indexKind int

const (
	plainIndex indexKind = iota
	unique
	sparseIndex       // of documents that have the first field
	closedAlertsIndex // of closed alerts
	expiring          // the server deletes documents after batchIDRetention
)

func (s *Store) indexes() []indexSpec {
	return []indexSpec{
		{&s.events, "seq: -seq", plainIndex},
		{&s.events, "received: received", plainIndex},
		{&s.events, "time: -timestamp", plainIndex},
		{&s.events, "host: names.host -seq", plainIndex},
		{&s.events, "agent: names.agent -seq", plainIndex},
		{&s.events, "odd: odd", sparseIndex},
		{&s.alerts, "slot: slot", unique},
		{&s.alerts, "seen: -us.last -order", plainIndex},
		{&s.alerts, "triage: status level -us.last -order", plainIndex},
		{&s.alerts, "rule: rule_id -us.last -order", plainIndex},
		{&s.alerts, "agent: agent_id -us.last -order", plainIndex},
		{&s.alerts, "host: host -us.last -order", plainIndex},
		{&s.alerts, "closed: us.updated", closedAlertsIndex},
		{&s.matches, "order: -order", plainIndex},
		{&s.matches, "alert: alert -order", plainIndex},
		{&s.matches, "rule: rule_id -order", plainIndex},
		{&s.matches, "agent: agent_id -order", plainIndex},
		{&s.matches, "event: event_id -order", plainIndex},
		{&s.hosts, "seen: -seen -_id", plainIndex},
		{&s.batches, "expiry: at", expiring},
		{&s.observations, "offset: offset seq", plainIndex},
		{&s.tokens, "hash: hash", unique},
		{&s.sessions, "user: user", plainIndex},
		{&s.sessions, "expires: expires", plainIndex},
	}
}

// prepareDatabase checks the server and the database, and creates missing indexes. Two
// processes may open a new database at once.
func (s *Store) prepareDatabase(ctx context.Context) error {
	server, err := s.readServerInfo(ctx)
	if err == nil {
		s.hasBulkWrite = server.wire >= wireVersionOfBulkWrite && !s.options.noBulkWrite
		err = server.checkTransactions()
	}
	if err == nil {
		err = s.checkOwnership(ctx)
	}
	if err != nil {
		return err
	}
	models := make(map[*mongo.Collection][]mongo.IndexModel)
	for _, ix := range s.indexes() {
		models[*ix.of] = append(models[*ix.of], ix.model())
	}
	for c, m := range models {
		err := withTimeout(ctx, scanTimeout, func(ctx context.Context) error {
			_, err := c.Indexes().CreateMany(ctx, m)
			return err
		})
		if err != nil {
			return fmt.Errorf("create the indexes of %s: %w", c.Name(), err)
		}
	}
	return nil
}

func (ix indexSpec) name() string { name, _, _ := strings.Cut(ix.keys, ": "); return name }

// checkOwnership refuses a database whose collections of the same names are not
// picket's, such as that of the legacy system.
func (s *Store) checkOwnership(ctx context.Context) error {
	journal, err := find[bson.Raw](ctx, s.db.Collection("journal"), bson.D{}, options.Find().SetLimit(1))
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	if len(journal) > 0 {
		return fmt.Errorf("database %s was written by a version of picket that used no transactions, and has another layout; name a new database: %w", s.db.Name(), picket.ErrConflict)
	}
	for c, key := range map[*mongo.Collection]string{s.events: "seq", s.alerts: "slot"} {
		docs, err := find[bson.Raw](ctx, c, bson.D{}, options.Find().SetLimit(1))
		if err != nil {
			return fmt.Errorf("read %s: %w", c.Name(), err)
		}
		if len(docs) > 0 && docs[0].Lookup(key).IsZero() {
			return fmt.Errorf("%s of database %s are not picket's; name a database of its own: %w", c.Name(), s.db.Name(), picket.ErrConflict)
		}
	}
	return nil
}

// model returns the index as the driver describes it.
func (ix indexSpec) model() mongo.IndexModel {
	_, fields, _ := strings.Cut(ix.keys, ": ")
	var keys bson.D
	for _, f := range strings.Fields(fields) {
		if down, ok := strings.CutPrefix(f, "-"); ok {
			keys = append(keys, bsonElem(down, -1))
		} else {
			keys = append(keys, bsonElem(f, 1))
		}
	}
	o := options.Index().SetName(ix.name())
	switch ix.kind {
	case unique:
		o.SetUnique(true)
	case closedAlertsIndex:
		o.SetPartialFilterExpression(bson.D{bsonElem("slot", bson.D{bsonElem("$lt", "d")})})
	case expiring:
		o.SetExpireAfterSeconds(int32(batchIDRetention.Seconds()))
	case sparseIndex:
		o.SetPartialFilterExpression(bson.D{bsonElem(keys[0].Key, bson.D{bsonElem("$exists", true)})})
	}
	return mongo.IndexModel{Keys: keys, Options: o}
}

func (s *Store) hasIndex(ctx context.Context, ix indexSpec) (exists bool, err error) {
	err = withTimeout(ctx, opTimeout, func(ctx context.Context) error {
		specs, err := (*ix.of).Indexes().ListSpecifications(ctx)
		for _, spec := range specs {
			exists = exists || spec.Name == ix.name()
		}
		return err
	})
	return exists, err
}
