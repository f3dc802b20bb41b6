package mongostore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// A rulesDoc is the one document of published_rules. MongoDB limits it to 16 MiB,
// some ten times what all rules of SigmaHQ take.
type rulesDoc struct {
	ID      string `bson:"_id"`
	Version string `bson:"version"`
	Bundle  []byte `bson:"bundle"`
	At      int64  `bson:"at"`
}

const publishedRulesID = "rules"

// PublishRules implements store.Coordination.
func (s *Store) PublishRules(ctx context.Context, r store.PublishedRules) error {
	doc := rulesDoc{publishedRulesID, r.Version, r.Bundle, r.Published.UnixMicro()}
	err := withTimeout(ctx, opTimeout, func(ctx context.Context) error {
		_, err := s.publishedRules.ReplaceOne(ctx, byID(publishedRulesID), doc, options.Replace().SetUpsert(true))
		return err
	})
	if err != nil {
		return fmt.Errorf("publish rules: %w", err)
	}
	return nil
}

// PublishedRules implements store.Coordination.
func (s *Store) PublishedRules(ctx context.Context, knownVersion string) (store.PublishedRules, error) {
	d, err := findOne[rulesDoc](ctx, s.publishedRules, byID(publishedRulesID), options.FindOne().SetProjection(bson.D{bsonElem("version", 1), bsonElem("at", 1)}))
	if err == nil && d.Version != knownVersion {
		d, err = findOne[rulesDoc](ctx, s.publishedRules, byID(publishedRulesID))
	}
	if err != nil {
		return store.PublishedRules{}, fmt.Errorf("read published rules: %w", err)
	}
	return store.PublishedRules{Version: d.Version, Bundle: d.Bundle, Published: fromMicros(d.At)}, nil
}

type workerDoc struct {
	ID          string `bson:"_id"`
	Host        string `bson:"host"`
	Version     string `bson:"version"`
	Rules       string `bson:"rules"`
	Concurrency int    `bson:"concurrency"`
	Started     int64  `bson:"started"`
	Seen        int64  `bson:"seen"`
	Events      int64  `bson:"events"`
}

// workerRetention is how long a worker that does not report any more is kept.
const workerRetention = 24 * time.Hour

// ReportWorker implements store.Coordination.
func (s *Store) ReportWorker(ctx context.Context, w store.Worker) error {
	doc := workerDoc{w.ID, w.Host, w.Version, w.RulesRevision, w.Concurrency, w.Started.UnixMicro(), w.LastSeen.UnixMicro(), w.Events}
	err := withTimeout(ctx, opTimeout, func(ctx context.Context) error {
		_, err := s.workers.DeleteMany(ctx, bson.D{bsonElem("seen", bson.D{bsonElem("$lt", w.LastSeen.Add(-workerRetention).UnixMicro())})})
		if err == nil {
			_, err = s.workers.ReplaceOne(ctx, byID(w.ID), doc, options.Replace().SetUpsert(true))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("report worker %s: %w", w.ID, err)
	}
	return nil
}

// Workers implements store.Coordination.
func (s *Store) Workers(ctx context.Context, since time.Time) ([]store.Worker, error) {
	docs, err := find[workerDoc](ctx, s.workers, bson.D{bsonElem("seen", bson.D{bsonElem("$gte", since.UnixMicro())})},
		options.Find().SetSort(bson.D{bsonElem("_id", 1)}))
	if err != nil {
		return nil, fmt.Errorf("list workers: %w", err)
	}
	var all []store.Worker
	for _, d := range docs {
		all = append(all, store.Worker{ID: d.ID, Host: d.Host, Version: d.Version, RulesRevision: d.Rules, Concurrency: d.Concurrency,
			Started: fromMicros(d.Started), LastSeen: fromMicros(d.Seen), Events: d.Events})
	}
	return all, nil
}

type secretDoc struct {
	Name  string `bson:"_id"`
	Value []byte `bson:"value"`
}

// Secret implements store.Coordination.
func (s *Store) Secret(ctx context.Context, name string) ([]byte, error) {
	d, err := findOne[secretDoc](ctx, s.secrets, byID(name))
	if errors.Is(err, picket.ErrNotFound) {
		candidate := make([]byte, store.SecretBytes)
		rand.Read(candidate)
		if err = s.addSecret(ctx, name, candidate); err == nil {
			d, err = findOne[secretDoc](ctx, s.secrets, byID(name)) // another process may have been first
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read secret %s: %w", name, err)
	}
	return d.Value, nil
}

// addSecret adds a secret unless there is one with the name.
func (s *Store) addSecret(ctx context.Context, name string, value []byte) error {
	err := insert(ctx, s.secrets, secretDoc{name, value})
	if errors.Is(err, picket.ErrConflict) {
		return nil
	}
	return err
}
