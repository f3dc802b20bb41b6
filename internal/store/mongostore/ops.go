package mongostore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
)

// chunk is how many keys or documents go into one operation.
const chunk = 1000

const duplicateKey = 11000

// away are the codes by which a server says that it can't just now: no primary,
// an election, a shutdown, a write that too few members confirmed in time.
var away = map[int]bool{6: true, 7: true, 50: true, 64: true, 89: true, 91: true, 100: true, 112: true, 133: true, 134: true,
	189: true, 262: true, 9001: true, 10107: true, 11600: true, 11602: true, 13435: true, 13436: true}

// kind gives an error of the driver its kind. parent is the caller's context:
// where that ended, it was not the server.
func kind(parent context.Context, err error) error {
	var se mongo.ServerError
	switch {
	case err == nil:
		return nil
	case parent.Err() != nil:
		return fmt.Errorf("%w (%w)", parent.Err(), err)
	case errors.Is(err, mongo.ErrNoDocuments):
		return picket.ErrNotFound
	case errors.Is(err, mongo.ErrClientDisconnected):
		return errClosed
	case mongo.IsTimeout(err), mongo.IsNetworkError(err), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", err, picket.ErrUnavailable)
	case errors.As(err, &se):
		for code := range away {
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

// op runs one operation with a deadline.
func op(ctx context.Context, limit time.Duration, f func(ctx context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return kind(ctx, f(bounded))
}

// find returns the documents that a filter selects.
func find[T any](ctx context.Context, c *mongo.Collection, filter any, o ...options.Lister[options.FindOptions]) ([]T, error) {
	var out []T
	err := op(ctx, opTimeout, func(ctx context.Context) error {
		cur, err := c.Find(ctx, filter, o...)
		if err != nil {
			return err
		}
		return cur.All(ctx, &out)
	})
	return out, err
}

// ferretEach is up to how many documents are asked of FerretDB one by one: one
// _id it leaves to SQLite, of anything else it decodes the whole collection,
// which takes some forty times as long.
const ferretEach = 32

// findIn returns the documents whose field is one of the keys.
func findIn[T any](ctx context.Context, s *Store, c *mongo.Collection, field string, keys []string, o ...options.Lister[options.FindOptions]) ([]T, error) {
	var out []T
	each := s.ferret && field == "_id" && len(keys) <= ferretEach
	for len(keys) > 0 {
		n := min(chunk, len(keys))
		filter := bson.D{where(field, bson.D{where("$in", keys[:n])})}
		if each {
			n = 1
			filter = byID(keys[0])
		}
		part, err := find[T](ctx, c, filter, o...)
		if err != nil {
			return nil, err
		}
		out = append(out, part...)
		keys = keys[n:]
	}
	return out, nil
}

// one returns the first document that a filter selects, or picket.ErrNotFound.
func one[T any](ctx context.Context, c *mongo.Collection, filter any, o ...options.Lister[options.FindOneOptions]) (T, error) {
	var out T
	err := op(ctx, opTimeout, func(ctx context.Context) error { return c.FindOne(ctx, filter, o...).Decode(&out) })
	return out, err
}

// insert inserts one document, or fails with picket.ErrConflict where there is
// one of its keys.
func insert(ctx context.Context, c *mongo.Collection, doc any) error {
	return op(ctx, opTimeout, func(ctx context.Context) error {
		_, err := c.InsertOne(ctx, doc)
		if mongo.IsDuplicateKeyError(err) {
			return picket.ErrConflict
		}
		return err
	})
}

// insertNew inserts documents in no order, and returns the places of those
// whose keys are there already.
func insertNew(ctx context.Context, c *mongo.Collection, docs []any) (known []int, err error) {
	for at := 0; at < len(docs); at += chunk {
		part := docs[at:min(at+chunk, len(docs))]
		err := op(ctx, opTimeout, func(ctx context.Context) error {
			_, err := c.InsertMany(ctx, part, options.InsertMany().SetOrdered(false))
			var many mongo.BulkWriteException
			if !errors.As(err, &many) || many.WriteConcernError != nil {
				return err
			}
			for _, e := range many.WriteErrors {
				if e.Code != duplicateKey {
					return err
				}
				known = append(known, at+e.Index)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return known, nil
}

// ferretChunk is how many updates go into one operation on FerretDB. It takes
// a connection to its database for each of them until the last is done, has
// 100, and waits for ever where that is not enough for all who write.
const ferretChunk = 8

// bulk runs writes in no order.
func (s *Store) bulk(ctx context.Context, c *mongo.Collection, writes []mongo.WriteModel) error {
	chunk := chunk
	if s.ferret {
		chunk = ferretChunk
	}
	for at := 0; at < len(writes); at += chunk {
		part := writes[at:min(at+chunk, len(writes))]
		err := op(ctx, opTimeout, func(ctx context.Context) error {
			_, err := c.BulkWrite(ctx, part, options.BulkWrite().SetOrdered(false))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// remove deletes what a filter selects.
func remove(ctx context.Context, c *mongo.Collection, filter any) error {
	return op(ctx, scanTimeout, func(ctx context.Context) error {
		_, err := c.DeleteMany(ctx, filter)
		return err
	})
}

// count counts what a filter selects.
func (s *Store) count(ctx context.Context, c *mongo.Collection, filter bson.D) (int64, error) {
	var out struct {
		N int64 `bson:"n"`
	}
	err := op(ctx, opTimeout, func(ctx context.Context) error {
		return s.db.RunCommand(ctx, bson.D{where("count", c.Name()), where("query", filter)}).Decode(&out)
	})
	return out.N, err
}

// byID selects the document of an id.
func byID(id any) bson.D { return bson.D{{Key: "_id", Value: id}} }

// where is a field with its value, or with a condition on it.
func where(field string, value any) bson.E { return bson.E{Key: field, Value: value} }
