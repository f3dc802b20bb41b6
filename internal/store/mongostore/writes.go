package mongostore

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// A write changes one document of a collection: it inserts one, updates one or inserts it
// with the update, or deletes one.
type write struct {
	to     *mongo.Collection
	insert any
	id     any    // of the document to update or delete
	update bson.D // nil: delete
}

func insertOf(to *mongo.Collection, doc any) write { return write{to: to, insert: doc} }

func updateOf(to *mongo.Collection, id any, update bson.D) write {
	return write{to: to, id: id, update: update}
}

func deletionOf(to *mongo.Collection, id any) write { return write{to: to, id: id} }

// wireVersionOfBulkWrite is of the first version that has the command bulkWrite: MongoDB 8.0.
const wireVersionOfBulkWrite = 25

// writeAll makes writes in their order, in a transaction that has begun: with one command
// for all collections if the server has it, or else with one for each. In tests, it may
// fail before.
func (s *Store) writeAll(ctx context.Context, writes []write) error {
	for i, w := range writes {
		if i == 0 || writes[i-1].to != w.to {
			if err := s.options.fault(w.to.Name()); err != nil {
				return err
			}
		}
	}
	if s.hasBulkWrite && len(writes) > 0 {
		models := make([]mongo.ClientBulkWrite, len(writes))
		for i, w := range writes {
			models[i] = mongo.ClientBulkWrite{Database: s.db.Name(), Collection: w.to.Name(), Model: w.clientModel()}
		}
		if _, err := s.client.BulkWrite(ctx, models, options.ClientBulkWrite().SetOrdered(true)); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		return nil
	}
	for from := 0; from < len(writes); {
		c := writes[from].to
		var models []mongo.WriteModel
		for ; from < len(writes) && writes[from].to == c; from++ {
			models = append(models, writes[from].model())
		}
		if _, err := c.BulkWrite(ctx, models); err != nil {
			return fmt.Errorf("write %s: %w", c.Name(), err)
		}
	}
	return nil
}

func (w *write) model() mongo.WriteModel {
	switch {
	case w.insert != nil:
		return mongo.NewInsertOneModel().SetDocument(w.insert)
	case w.update != nil:
		return mongo.NewUpdateOneModel().SetFilter(byID(w.id)).SetUpdate(w.update).SetUpsert(true)
	}
	return mongo.NewDeleteOneModel().SetFilter(byID(w.id))
}

func (w *write) clientModel() mongo.ClientWriteModel {
	switch {
	case w.insert != nil:
		return mongo.NewClientInsertOneModel().SetDocument(w.insert)
	case w.update != nil:
		return mongo.NewClientUpdateOneModel().SetFilter(byID(w.id)).SetUpdate(w.update).SetUpsert(true)
	}
	return mongo.NewClientDeleteOneModel().SetFilter(byID(w.id))
}
