package mongostore

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket/internal/store"
)

func (d *hostDoc) host() store.Host {
	return store.Host{Name: d.Name, AgentID: d.AgentID, OS: d.OS, FirstSeen: fromMicros(d.First), LastSeen: fromMicros(d.Last),
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
		p, err := parseCursor(cursorHosts, cursor)
		if err != nil {
			return store.HostPage{}, err
		}
		f = append(f, afterPosition("seen", p.a, "_id", p.name))
	}
	if err := s.ensureApplied(ctx); err != nil {
		return store.HostPage{}, err
	}
	var page store.HostPage
	var last cursorPosition
	budget := store.NewPageBudget(limit)
	err := findUntil(ctx, s.hosts, f, func(d *hostDoc) bool {
		h := d.host()
		if !budget.Take(store.ListedHostSize(&h)) {
			page.Next = formatCursor(cursorHosts, last)
			return false
		}
		last = cursorPosition{a: d.Last, name: d.Name}
		page.Hosts = append(page.Hosts, h)
		return true
	}, options.Find().SetSort(bson.D{bsonElem("seen", -1), bsonElem("_id", -1)}).SetLimit(int64(limit)+1))
	return page, err
}

// Host implements store.Hosts.
func (s *Store) Host(ctx context.Context, name string) (store.Host, error) {
	err := s.ensureApplied(ctx)
	if err != nil {
		return store.Host{}, fmt.Errorf("read host %s: %w", name, err)
	}
	d, err := findOne[hostDoc](ctx, s.hosts, byID(name))
	if err != nil {
		return store.Host{}, fmt.Errorf("read host %s: %w", name, err)
	}
	return d.host(), nil
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
