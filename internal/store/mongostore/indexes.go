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
		{&s.alerts, "triage: status level -us.last -order", plain},
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
	if err := s.ask(ctx); err != nil {
		return err
	}
	if err := s.own(ctx); err != nil {
		return err
	}
	for _, ix := range s.indexes() {
		if !s.uses(ix) {
			continue
		}
		if err := s.makeIndex(ctx, ix); err != nil {
			return fmt.Errorf("make index %q of %s: %w", ix.keys, (*ix.of).Name(), err)
		}
	}
	return nil
}

// ask asks the server what it is.
func (s *Store) ask(ctx context.Context) error {
	var info bson.M
	if err := run(ctx, s.db, bson.D{where("buildInfo", 1)}, &info); err != nil {
		return fmt.Errorf("ask the server its version: %w", err)
	}
	s.version, _ = info["version"].(string)
	for key, value := range info {
		if !strings.HasPrefix(strings.ToLower(key), "ferretdb") {
			continue
		}
		s.ferret = true
		switch v := value.(type) {
		case string: // FerretDB 1
			s.ferretVersion = v
		case bson.D: // FerretDB 2
			for _, e := range v {
				if version, ok := e.Value.(string); ok && e.Key == "version" {
					s.ferretVersion = version
				}
			}
		}
	}
	return nil
}

// uses reports whether an index is of use on the server: FerretDB makes those
// that are not unique, and does not use them.
func (s *Store) uses(ix index) bool { return !s.ferret || ix.kind == unique }

func (ix index) name() string { name, _, _ := strings.Cut(ix.keys, ": "); return name }

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
	if there, err := s.hasIndex(ctx, ix); err != nil || there {
		return err
	}
	_, fields, _ := strings.Cut(ix.keys, ": ")
	var keys bson.D
	for _, f := range strings.Fields(fields) {
		if down, ok := strings.CutPrefix(f, "-"); ok {
			keys = append(keys, where(down, -1))
		} else {
			keys = append(keys, where(f, 1))
		}
	}
	o := options.Index().SetName(ix.name())
	switch ix.kind {
	case unique:
		o.SetUnique(true)
	case sparse:
		o.SetPartialFilterExpression(bson.D{where(keys[0].Key, bson.D{where("$exists", true)})})
	}
	return op(ctx, scanTimeout, func(ctx context.Context) error {
		_, err := (*ix.of).Indexes().CreateOne(ctx, mongo.IndexModel{Keys: keys, Options: o})
		return err
	})
}

func (s *Store) hasIndex(ctx context.Context, ix index) (there bool, err error) {
	err = op(ctx, opTimeout, func(ctx context.Context) error {
		specs, err := (*ix.of).Indexes().ListSpecifications(ctx)
		for _, spec := range specs {
			there = there || spec.Name == ix.name()
		}
		return err
	})
	return there, err
}
