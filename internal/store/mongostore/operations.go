package mongostore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
)

// maxOpItems is how many keys or documents one operation has at most.
const maxOpItems = 1000

const (
	codeDuplicateKey  = 11000
	codeWriteConflict = 112
)

// hasCode reports whether the server returned an error with a code.
func hasCode(err error, code int) bool {
	if bulk, ok := errors.AsType[mongo.ClientBulkWriteException](err); ok {
		return slices.Contains(bulk.ErrorCodes(), code)
	}
	server := mongo.ServerError(nil)
	return errors.As(err, &server) && server.HasErrorCode(code)
}

// unavailableCodes are the codes of errors that are transient: no primary, an
// election, a shutdown, a write that too few members have confirmed in time.
var unavailableCodes = map[int]bool{6: true, 7: true, 50: true, 64: true, 89: true, 91: true, 100: true, 133: true, 134: true,
	189: true, 262: true, 9001: true, 10107: true, 11600: true, 11602: true, 13435: true, 13436: true}

// classifyError wraps an error of the driver with picket's kind of error. parent
// is the caller's context: if that has ended, the server is not to blame.
func classifyError(parent context.Context, err error) error {
	var se mongo.ServerError
	var pool interface{ Retryable() bool } // the driver's error for a pool that lost its server
	switch {
	case err == nil:
		return nil
	case parent.Err() != nil:
		return fmt.Errorf("%w (%w)", parent.Err(), err)
	case errors.Is(err, mongo.ErrNoDocuments):
		return picket.ErrNotFound
	case errors.Is(err, mongo.ErrClientDisconnected):
		return errClosed
	case mongo.IsTimeout(err), mongo.IsNetworkError(err), errors.Is(err, context.DeadlineExceeded), errors.As(err, &pool) && pool.Retryable():
		return fmt.Errorf("%w: %w", err, picket.ErrUnavailable)
	case hasCode(err, codeWriteConflict):
		return fmt.Errorf("%w: %w", err, picket.ErrUnavailable)
	case errors.As(err, &se):
		for code := range unavailableCodes {
			if se.HasErrorCode(code) {
				return fmt.Errorf("%w: %w", err, picket.ErrUnavailable)
			}
		}
		if se.HasErrorLabel("RetryableWriteError") {
			return fmt.Errorf("%w: %w", err, picket.ErrUnavailable)
		}
	}
	return err
}

// withTimeout runs one operation with a deadline and classifies its error.
func withTimeout(ctx context.Context, limit time.Duration, f func(ctx context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return classifyError(ctx, f(bounded))
}

// find returns the documents that a filter selects.
func find[T any](ctx context.Context, c *mongo.Collection, filter any, o ...options.Lister[options.FindOptions]) ([]T, error) {
	var out []T
	err := withTimeout(ctx, opTimeout, func(ctx context.Context) error {
		cur, err := c.Find(ctx, filter, o...)
		if err != nil {
			return err
		}
		return cur.All(ctx, &out)
	})
	return out, err
}

// aggregate returns the results of a pipeline.
func aggregate[T any](ctx context.Context, c *mongo.Collection, pipeline bson.A) ([]T, error) {
	var out []T
	err := withTimeout(ctx, scanTimeout, func(ctx context.Context) error {
		cur, err := c.Aggregate(ctx, pipeline)
		if err != nil {
			return err
		}
		return cur.All(ctx, &out)
	})
	return out, err
}

// findUntil calls take with the documents that a filter selects, until it returns
// false. Unlike find, it does not hold all of them.
func findUntil[T any](ctx context.Context, c *mongo.Collection, filter any, take func(*T) bool, o ...options.Lister[options.FindOptions]) error {
	return withTimeout(ctx, opTimeout, func(ctx context.Context) error {
		cur, err := c.Find(ctx, filter, o...)
		if err != nil {
			return err
		}
		defer closeCursor(ctx, cur)
		for cur.Next(ctx) {
			var d T
			if err := cur.Decode(&d); err != nil {
				return err
			}
			if !take(&d) {
				return nil
			}
		}
		return cur.Err()
	})
}

// closeCursor closes a cursor on the server too, even if ctx has ended.
func closeCursor(ctx context.Context, cur *mongo.Cursor) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), selectTimeout)
	defer cancel()
	cur.Close(ctx)
}

// findIn returns the documents whose field is one of the keys.
func findIn[T any](ctx context.Context, c *mongo.Collection, field string, keys []string, o ...options.Lister[options.FindOptions]) ([]T, error) {
	var out []T
	for part := range slices.Chunk(keys, maxOpItems) {
		docs, err := find[T](ctx, c, bson.D{bsonElem(field, bson.D{bsonElem("$in", part)})}, o...)
		if err != nil {
			return nil, err
		}
		out = append(out, docs...)
	}
	return out, nil
}

func keysOf(set map[string]bool) []string { return slices.Collect(maps.Keys(set)) }

// findOne returns the first document that a filter selects, or picket.ErrNotFound.
func findOne[T any](ctx context.Context, c *mongo.Collection, filter any, o ...options.Lister[options.FindOneOptions]) (T, error) {
	var out T
	err := withTimeout(ctx, opTimeout, func(ctx context.Context) error { return c.FindOne(ctx, filter, o...).Decode(&out) })
	return out, err
}

// insert inserts one document. It is picket.ErrConflict if a document with one of
// its keys exists.
func insert(ctx context.Context, c *mongo.Collection, doc any) error {
	return withTimeout(ctx, opTimeout, func(ctx context.Context) error {
		_, err := c.InsertOne(ctx, doc)
		if mongo.IsDuplicateKeyError(err) {
			return fmt.Errorf("it exists already: %w", picket.ErrConflict)
		}
		return err
	})
}

// insertNew inserts documents, unordered, and returns the indexes of those whose
// keys exist already.
func insertNew(ctx context.Context, c *mongo.Collection, docs []any) (existing []int, err error) {
	for at := 0; at < len(docs); at += maxOpItems {
		part := docs[at:min(at+maxOpItems, len(docs))]
		err := withTimeout(ctx, opTimeout, func(ctx context.Context) error {
			_, err := c.InsertMany(ctx, part, options.InsertMany().SetOrdered(false))
			var many mongo.BulkWriteException
			if !errors.As(err, &many) || many.WriteConcernError != nil {
				return err
			}
			for _, e := range many.WriteErrors {
				if e.Code != codeDuplicateKey {
					return err
				}
				existing = append(existing, at+e.Index)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return existing, nil
}

// deleteMany deletes the documents that a filter selects.
func deleteMany(ctx context.Context, c *mongo.Collection, filter any) error {
	return withTimeout(ctx, scanTimeout, func(ctx context.Context) error {
		_, err := c.DeleteMany(ctx, filter)
		return err
	})
}

// countDocuments counts the documents that a filter selects.
func (s *Store) countDocuments(ctx context.Context, c *mongo.Collection, filter bson.D) (int64, error) {
	var out struct {
		N int64 `bson:"n"`
	}
	err := withTimeout(ctx, opTimeout, func(ctx context.Context) error {
		return s.db.RunCommand(ctx, bson.D{bsonElem("count", c.Name()), bsonElem("query", filter)}).Decode(&out)
	})
	return out.N, err
}

// byID selects the document with an id.
func byID(id any) bson.D { return bson.D{{Key: "_id", Value: id}} }

// bsonElem returns an element of a document: a field and its value or condition.
func bsonElem(field string, value any) bson.E { return bson.E{Key: field, Value: value} }
