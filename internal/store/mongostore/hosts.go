package mongostore

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

func (d *hostDoc) host() store.Host {
	return store.Host{Name: d.key().Name, AgentID: d.AgentID, OS: d.OS, FirstSeen: fromMicros(d.First), LastSeen: fromMicros(d.Last),
		Events: d.Events, Alerts: d.Alerts}
}

// Hosts implements store.Hosts.
func (s *Store) Hosts(ctx context.Context, text string, limit int, cursor string) (store.HostPage, error) {
	page, err := s.listHosts(ctx, text, cmp.Or(max(limit, 0), defaultLimit), cursor)
	if err != nil {
		return store.HostPage{}, fmt.Errorf("list hosts: %w", err)
	}
	return page, nil
}

func (s *Store) listHosts(ctx context.Context, text string, limit int, cursor string) (store.HostPage, error) {
	f := bson.D{}
	if text != "" {
		f = append(f, bsonElem("fold", bson.Regex{Pattern: quoteText(text)}))
	}
	if cursor != "" {
		p, err := store.ParseCursor(store.HostCursor, cursor)
		if err != nil {
			return store.HostPage{}, err
		}
		f = append(f, afterPosition("seen", p.A, "_id", p.Name))
	}
	if err := s.ensureApplied(ctx); err != nil {
		return store.HostPage{}, err
	}
	var page store.HostPage
	var last store.Cursor
	budget := store.NewPageBudget(limit)
	err := findUntil(ctx, s.hosts, f, func(d *hostDoc) bool {
		h := d.host()
		if !budget.Take(store.ListedHostSize(&h)) {
			page.Next = last.String()
			return false
		}
		last = store.Cursor{List: store.HostCursor, A: d.Last, Name: d.ID}
		page.Hosts = append(page.Hosts, h)
		return true
	}, options.Find().SetSort(bson.D{bsonElem("seen", -1), bsonElem("_id", -1)}).SetLimit(int64(limit)+1))
	return page, err
}

// Host implements store.Hosts.
func (s *Store) Host(ctx context.Context, key store.HostKey) (store.Host, error) {
	err := s.ensureApplied(ctx)
	found := make(map[store.HostKey]*hostDoc)
	if err == nil {
		err = s.readHosts(ctx, map[store.HostKey]bool{key: true}, found)
	}
	if err == nil && found[key] == nil {
		err = picket.ErrNotFound
	}
	if err != nil {
		return store.Host{}, fmt.Errorf("read host %s: %w", key.Name, err)
	}
	return found[key].host(), nil
}

// readHosts adds the documents of hosts to out, and may add others.
func (s *Store) readHosts(ctx context.Context, keys map[store.HostKey]bool, out map[store.HostKey]*hostDoc) error {
	ids := make(map[string]bool, 2*len(keys))
	for k := range keys {
		ids[hostID(k)] = true
		ids[k.Name] = true // see hostDoc
	}
	return readInto(ctx, s, s.hosts, "_id", ids, out, (*hostDoc).key)
}

// CountHosts implements store.Hosts.
func (s *Store) CountHosts(ctx context.Context, since time.Time) (total, online int64, err error) {
	if err = s.ensureApplied(ctx); err == nil {
		total, err = s.countDocuments(ctx, s.hosts, bson.D{})
	}
	if err == nil {
		online, err = s.countDocuments(ctx, s.hosts, bson.D{bsonElem("seen", bson.D{bsonElem("$gte", since.UnixMicro())})})
	}
	if err != nil {
		return 0, 0, fmt.Errorf("count hosts: %w", err)
	}
	return total, online, nil
}
