package mongostore

import (
	"context"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// An index is described as "name: field -field …", where - is descending. What
// each is for is in docs/scale.md.
type index struct {
	of     **mongo.Collection
	keys   string
	unique bool
}

func (s *Store) indexes() []index {
	return []index{
		{&s.events, "seq: -seq -_id", false},
		{&s.events, "received: received", false},
		{&s.events, "time: -timestamp", false},
		{&s.events, "host: fold.host -seq", false},
		{&s.events, "agent: fold.agent -seq", false},
		{&s.alerts, "slot: slot", true},
		{&s.alerts, "seen: -us.last -order", false},
		{&s.alerts, "status: status -us.last -order", false},
		{&s.alerts, "rule: rule_id -us.last -order", false},
		{&s.alerts, "agent: agent_id -us.last -order", false},
		{&s.alerts, "host: host -us.last -order", false},
		{&s.matches, "order: -order", false},
		{&s.matches, "alert: alert -order", false},
		{&s.matches, "rule: rule_id -order", false},
		{&s.matches, "agent: agent_id -order", false},
		{&s.matches, "event: event_id -order", false},
		{&s.hosts, "seen: -seen -_id", false},
		{&s.rules, "matches: -matches _id", false},
		{&s.batches, "pending: pending seq", false},
		{&s.batches, "at: at", false},
		{&s.tokens, "hash: hash", true},
		{&s.sessions, "user: user", false},
		{&s.sessions, "expires: expires", false},
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
	_, s.ferret = info["ferretdb"]
	for _, ix := range s.indexes() {
		if s.ferret && !ix.unique {
			continue // it makes them, and does not use them
		}
		if err := s.makeIndex(ctx, ix); err != nil {
			return fmt.Errorf("make index %q of %s: %w", ix.keys, (*ix.of).Name(), err)
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
	return op(ctx, scanTimeout, func(ctx context.Context) error {
		_, err := view.CreateOne(ctx, mongo.IndexModel{Keys: keys, Options: options.Index().SetName(name).SetUnique(ix.unique)})
		return err
	})
}

var errThere = fmt.Errorf("the index is there")
