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

// An index is described as "name: field -field …", where - is descending. What
// each is for is in docs/scale.md.
type index struct {
	of   **mongo.Collection
	keys string
	kind indexKind
}

type indexKind int

const (
	plain  indexKind = iota
	unique           // no two documents may have the same
	sparse           // of documents that have the first field
)

func (s *Store) indexes() []index {
	return []index{
		{&s.events, "seq: -seq -_id", plain},
		{&s.events, "received: received", plain},
		{&s.events, "time: -timestamp", plain},
		{&s.events, "host: host.hostname -seq", plain},
		{&s.events, "agent: agent_id -seq", plain},
		{&s.events, "fold_host: fold.host -seq", sparse},
		{&s.events, "fold_agent: fold.agent -seq", sparse},
		{&s.events, "own: own -seq", sparse},
		{&s.events, "odd: odd", sparse},
		{&s.alerts, "slot: slot", unique},
		{&s.alerts, "seen: -us.last -order", plain},
		{&s.alerts, "status: status -us.last -order", plain},
		{&s.alerts, "rule: rule_id -us.last -order", plain},
		{&s.alerts, "agent: agent_id -us.last -order", plain},
		{&s.alerts, "host: host -us.last -order", plain},
		{&s.matches, "order: -order", plain},
		{&s.matches, "alert: alert -order", plain},
		{&s.matches, "rule: rule_id -order", plain},
		{&s.matches, "agent: agent_id -order", plain},
		{&s.matches, "event: event_id -order", plain},
		{&s.hosts, "seen: -seen -_id", plain},
		{&s.rules, "matches: -matches _id", plain},
		{&s.minutes, "start: start", plain},
		{&s.batches, "at: at", plain},
		{&s.tokens, "hash: hash", unique},
		{&s.sessions, "user: user", plain},
		{&s.sessions, "expires: expires", plain},
	}
}

// prepare asks what the server is and makes the indexes that are not there.
// Two processes may open a new database at once.
func (s *Store) prepare(ctx context.Context) error {
	var info bson.M
	err := op(ctx, opTimeout, func(ctx context.Context) error {
		return s.db.RunCommand(ctx, bson.D{where("buildInfo", 1)}).Decode(&info)
	})
	if err != nil {
		return fmt.Errorf("ask the server its version: %w", err)
	}
	for key := range info {
		s.ferret = s.ferret || strings.HasPrefix(strings.ToLower(key), "ferretdb")
	}
	if err := s.own(ctx); err != nil {
		return err
	}
	for _, ix := range s.indexes() {
		if s.ferret && ix.kind != unique {
			continue // it makes them, and does not use them
		}
		if err := s.makeIndex(ctx, ix); err != nil {
			return fmt.Errorf("make index %q of %s: %w", ix.keys, (*ix.of).Name(), err)
		}
	}
	return nil
}

// own refuses a database whose collections of the same names are not picket's,
// as that of the replaced system.
func (s *Store) own(ctx context.Context) error {
	for c, key := range map[*mongo.Collection]string{s.events: "seq", s.alerts: "slot"} {
		docs, err := find[bson.Raw](ctx, c, bson.D{}, options.Find().SetLimit(1))
		if err != nil {
			return fmt.Errorf("look into %s: %w", c.Name(), err)
		}
		if len(docs) > 0 && docs[0].Lookup(key).IsZero() {
			return fmt.Errorf("%s of database %s are not picket's; name a database of its own: %w", c.Name(), s.db.Name(), picket.ErrConflict)
		}
	}
	return nil
}

// makeIndex makes an index unless it is there. It looks first, because FerretDB
// ends the connection where nothing is left to be made.
func (s *Store) makeIndex(ctx context.Context, ix index) error {
	name, fields, _ := strings.Cut(ix.keys, ": ")
	view := (*ix.of).Indexes()
	err := op(ctx, opTimeout, func(ctx context.Context) error {
		there, err := view.ListSpecifications(ctx)
		if err != nil {
			return err
		}
		for _, spec := range there {
			if spec.Name == name {
				return errThere
			}
		}
		return nil
	})
	if err != nil {
		if err == errThere {
			return nil
		}
		return err
	}
	var keys bson.D
	for _, f := range strings.Fields(fields) {
		if down, ok := strings.CutPrefix(f, "-"); ok {
			keys = append(keys, where(down, -1))
		} else {
			keys = append(keys, where(f, 1))
		}
	}
	o := options.Index().SetName(name)
	switch ix.kind {
	case unique:
		o.SetUnique(true)
	case sparse:
		o.SetPartialFilterExpression(bson.D{where(keys[0].Key, bson.D{where("$exists", true)})})
	}
	return op(ctx, scanTimeout, func(ctx context.Context) error {
		_, err := view.CreateOne(ctx, mongo.IndexModel{Keys: keys, Options: o})
		return err
	})
}

var errThere = fmt.Errorf("the index is there")
