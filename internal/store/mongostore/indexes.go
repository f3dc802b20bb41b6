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
)

func (s *Store) indexes() []indexSpec {
	return []indexSpec{
		{&s.events, "seq: -seq -_id", plainIndex},
		{&s.events, "received: received", plainIndex},
		{&s.events, "time: -timestamp", plainIndex},
		{&s.events, "host: host.hostname -seq", plainIndex},
		{&s.events, "agent: agent_id -seq", plainIndex},
		{&s.events, "fold_host: fold.host -seq", sparseIndex},
		{&s.events, "fold_agent: fold.agent -seq", sparseIndex},
		{&s.events, "own: own -seq", sparseIndex},
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
		{&s.ruleStats, "matches: -matches _id", plainIndex},
		{&s.minutes, "start: start", plainIndex},
		{&s.batches, "at: at", plainIndex},
		{&s.tokens, "hash: hash", unique},
		{&s.sessions, "user: user", plainIndex},
		{&s.sessions, "expires: expires", plainIndex},
	}
}

// prepareDatabase finds out what the server is and creates missing indexes. Two processes
// may open a new database at once.
func (s *Store) prepareDatabase(ctx context.Context) error {
	if err := s.detectServer(ctx); err != nil {
		return err
	}
	if err := s.checkOwnership(ctx); err != nil {
		return err
	}
	for _, ix := range s.indexes() {
		if !s.needsIndex(ix) {
			continue
		}
		if err := s.createIndex(ctx, ix); err != nil {
			return fmt.Errorf("create index %q of %s: %w", ix.keys, (*ix.of).Name(), err)
		}
	}
	return nil
}

// detectServer asks the server for its version, and whether it is FerretDB.
func (s *Store) detectServer(ctx context.Context) error {
	var info bson.M
	if err := runCommand(ctx, s.db, bson.D{bsonElem("buildInfo", 1)}, &info); err != nil {
		return fmt.Errorf("ask the server for its version: %w", err)
	}
	s.version, _ = info["version"].(string)
	for key, value := range info {
		if !strings.HasPrefix(strings.ToLower(key), "ferretdb") {
			continue
		}
		s.isFerretDB = true
		switch v := value.(type) {
		case string: // FerretDB 1
			s.ferretDBVersion = v
		case bson.D: // FerretDB 2
			for _, e := range v {
				if version, ok := e.Value.(string); ok && e.Key == "version" {
					s.ferretDBVersion = version
				}
			}
		}
	}
	return nil
}

// needsIndex reports whether an index is useful on the server: FerretDB creates
// indexes that are not unique, but does not use them.
func (s *Store) needsIndex(ix indexSpec) bool { return !s.isFerretDB || ix.kind == unique }

func (ix indexSpec) name() string { name, _, _ := strings.Cut(ix.keys, ": "); return name }

// checkOwnership refuses a database whose collections of the same names are not
// picket's, such as that of the legacy system.
func (s *Store) checkOwnership(ctx context.Context) error {
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

// createIndex creates an index unless it exists. It checks that first, because
// FerretDB closes the connection if there is nothing to create.
func (s *Store) createIndex(ctx context.Context, ix indexSpec) error {
	if exists, err := s.hasIndex(ctx, ix); err != nil || exists {
		return err
	}
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
	case sparseIndex:
		o.SetPartialFilterExpression(bson.D{bsonElem(keys[0].Key, bson.D{bsonElem("$exists", true)})})
	}
	return withTimeout(ctx, scanTimeout, func(ctx context.Context) error {
		_, err := (*ix.of).Indexes().CreateOne(ctx, mongo.IndexModel{Keys: keys, Options: o})
		return err
	})
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
