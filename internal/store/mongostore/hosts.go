package mongostore

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

func (d *hostDoc) host() store.Host {
	return store.Host{Name: d.key().Name, AgentID: d.AgentID, OS: d.OS, FirstSeen: fromMicros(d.First), LastSeen: fromMicros(*d.Last),
		Events: d.Events, Alerts: d.Alerts}
}

// seenSince selects the listed hosts that were seen since a time.
func seenSince(us int64) bson.D {
	return bson.D{bsonElem("seen", bson.D{bsonElem("$gte", us)})}
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
	f, before := bson.D{}, int64(math.MaxInt64)
	if text != "" {
		f = append(f, bsonElem("fold", bson.Regex{Pattern: quoteText(text)}))
	}
	if cursor != "" {
		p, err := store.ParseCursor(store.HostCursor, cursor)
		if err != nil {
			return store.HostPage{}, err
		}
		f, before = append(f, afterPosition("seen", p.A, "_id", p.Name)), p.A+1
	}
	f = append(f, bsonElem("seen", bson.D{bsonElem("$gte", int64(math.MinInt64)), bsonElem("$lt", before)}))
	if err := s.applyHostActivity(ctx, bson.D{}); err != nil {
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
		last = store.Cursor{List: store.HostCursor, A: *d.Last, Name: d.ID}
		page.Hosts = append(page.Hosts, h)
		return true
	}, options.Find().SetSort(bson.D{bsonElem("seen", -1), bsonElem("_id", -1)}).SetLimit(int64(limit)+1))
	return page, err
}

// Host implements store.Hosts.
func (s *Store) Host(ctx context.Context, key store.HostKey) (store.Host, error) {
	var d hostDoc
	err := s.applyHostActivity(ctx, bson.D{})
	if err == nil {
		d, err = findOne[hostDoc](ctx, s.hosts, byID(hostID(key)))
	}
	if err == nil && d.Last == nil {
		err = picket.ErrNotFound
	}
	if err != nil {
		return store.Host{}, fmt.Errorf("read host %s: %w", key.Name, err)
	}
	return d.host(), nil
}

// CountHosts implements store.Hosts.
func (s *Store) CountHosts(ctx context.Context, since time.Time) (total, online int64, err error) {
	if err = s.applyHostActivity(ctx, bson.D{}); err == nil {
		total, err = s.countDocuments(ctx, s.hosts, seenSince(math.MinInt64))
	}
	if err == nil {
		online, err = s.countDocuments(ctx, s.hosts, seenSince(since.UnixMicro()))
	}
	if err != nil {
		return 0, 0, fmt.Errorf("count hosts: %w", err)
	}
	return total, online, nil
}

// hostSet remembers the ids of hosts that are listed, which they stay. It is for
// concurrent use.
type hostSet struct {
	mu  sync.Mutex
	ids map[string]bool
}

// maxKnownHosts is how many hosts a hostSet remembers.
const maxKnownHosts = 200_000

func (k *hostSet) has(id string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ids[id]
}

func (k *hostSet) add(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ids[id] {
		return
	}
	if k.ids == nil || len(k.ids) >= maxKnownHosts {
		k.ids = make(map[string]bool)
	}
	k.ids[strings.Clone(id)] = true
}

func (k *hostSet) addAll(hosts hostActivities) {
	for key := range hosts {
		k.add(hostID(key))
	}
}

// findUnlistedHosts returns which hosts are not listed yet.
func (s *Store) findUnlistedHosts(ctx context.Context, hosts map[store.HostKey]bool) (map[store.HostKey]bool, error) {
	unlisted := make(map[store.HostKey]bool)
	var ids []string
	for key := range hosts {
		if id := hostID(key); !s.knownHosts.has(id) {
			unlisted[key] = true
			ids = append(ids, id)
		}
	}
	docs, err := findIn[hostDoc](ctx, s.hosts, "_id", ids, options.Find().SetProjection(bson.D{bsonElem("agent_id", 1), bsonElem("seen", 1)}))
	if err != nil {
		return nil, fmt.Errorf("read hosts: %w", err)
	}
	for i := range docs {
		if d := &docs[i]; d.Last != nil {
			delete(unlisted, d.key())
			s.knownHosts.add(d.ID)
		}
	}
	return unlisted, nil
}

// sortedHosts returns the keys of hosts in the order in which all transactions write them.
func sortedHosts[T any](hosts map[store.HostKey]T) []store.HostKey {
	return slices.SortedFunc(maps.Keys(hosts), func(a, b store.HostKey) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.AgentID, b.AgentID))
	})
}
