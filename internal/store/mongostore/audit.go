package mongostore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// An auditDoc is an entry of the audit log. An entry that would have the same N as
// another is a conflict, so no two entries have the same one before them.
type auditDoc struct {
	N        int64  `bson:"_id"`
	At       int64  `bson:"at"`
	Actor    string `bson:"actor"`
	Action   string `bson:"action"`
	Object   string `bson:"object"`
	Detail   string `bson:"detail,omitempty"`
	Previous string `bson:"previous,omitempty"`
	Hash     string `bson:"hash,omitempty"`
}

func auditDocOf(e *store.AuditEntry) auditDoc {
	return auditDoc{e.N, e.Time.UnixMicro(), e.Actor, e.Action, e.Object, e.Detail, e.Previous, e.Hash}
}

// AddAuditEntry implements store.AuditLog.
func (s *Store) AddAuditEntry(ctx context.Context, e store.AuditEntry) (store.AuditEntry, error) {
	for {
		last, err := s.AuditEntries(ctx, store.AuditQuery{Limit: 1})
		if err != nil {
			return store.AuditEntry{}, err
		}
		e.N, e.Previous = 1, ""
		if len(last) > 0 {
			e.N, e.Previous = last[0].N+1, last[0].Hash
		}
		e.Hash = e.ChainHash()
		err = insert(ctx, s.audit, auditDocOf(&e))
		if errors.Is(err, picket.ErrConflict) {
			continue // another process has used the number
		}
		if err != nil {
			return store.AuditEntry{}, fmt.Errorf("write audit entry: %w", err)
		}
		return e, nil
	}
}

// AuditEntries implements store.AuditLog.
func (s *Store) AuditEntries(ctx context.Context, q store.AuditQuery) ([]store.AuditEntry, error) {
	filter := bson.D{}
	if q.Before > 0 {
		filter = append(filter, bsonElem("_id", bson.D{bsonElem("$lt", q.Before)}))
	}
	if q.Actor != "" {
		filter = append(filter, bsonElem("actor", q.Actor))
	}
	if q.Action != "" {
		filter = append(filter, bsonElem("action", q.Action))
	}
	limit := cmp.Or(max(q.Limit, 0), defaultLimit)
	docs, err := find[auditDoc](ctx, s.audit, filter, options.Find().SetSort(byID(-1)).SetLimit(int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	var out []store.AuditEntry
	for _, d := range docs {
		out = append(out, store.AuditEntry{N: d.N, Time: fromMicros(d.At), Actor: d.Actor, Action: d.Action, Object: d.Object, Detail: d.Detail,
			Previous: d.Previous, Hash: d.Hash})
	}
	return out, nil
}

// PruneAudit implements store.AuditLog.
func (s *Store) PruneAudit(ctx context.Context, before time.Time, maxEntries int) (int64, error) {
	var upTo int64 // the entries that may go
	first, err := find[auditDoc](ctx, s.audit, bson.D{bsonElem("at", bson.D{bsonElem("$gte", before.UnixMicro())})}, options.Find().SetSort(byID(1)).SetLimit(1))
	if err == nil && len(first) > 0 {
		upTo = first[0].N - 1
	}
	var beyond []auditDoc
	if err == nil {
		beyond, err = find[auditDoc](ctx, s.audit, bson.D{}, options.Find().SetSort(byID(-1)).SetSkip(int64(maxEntries)).SetLimit(1))
	}
	var last []store.AuditEntry
	if err == nil && len(first) == 0 {
		last, err = s.AuditEntries(ctx, store.AuditQuery{Limit: 1})
	}
	if err != nil {
		return 0, fmt.Errorf("prune audit log: %w", err)
	}
	if len(last) > 0 {
		upTo = last[0].N
	}
	if len(beyond) > 0 {
		upTo = max(upTo, beyond[0].N)
	}
	var n int64
	err = withTimeout(ctx, opTimeout, func(ctx context.Context) error {
		r, err := s.audit.DeleteMany(ctx, bson.D{bsonElem("_id", bson.D{bsonElem("$lte", upTo)})})
		if err == nil {
			n = r.DeletedCount
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("prune audit log: %w", err)
	}
	return n, nil
}
