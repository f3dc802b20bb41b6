package mongostore

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket/internal/store"
)

// Totals implements store.Events.
func (s *Store) Totals(ctx context.Context) (store.Totals, error) {
	out, err := s.countAll(ctx)
	if err != nil {
		return store.Totals{}, fmt.Errorf("read totals: %w", err)
	}
	return out, nil
}

func (s *Store) countAll(ctx context.Context) (store.Totals, error) {
	if err := s.settled(ctx); err != nil {
		return store.Totals{}, err
	}
	t, err := s.readTotals(ctx)
	if err != nil {
		return store.Totals{}, err
	}
	disk, err := s.disk.get(ctx, s)
	return store.Totals{Stored: t.Stored, Duplicate: t.Duplicate, Matches: t.Matches, Events: t.Stored - t.Gone, RawBytes: t.Raw - t.GoneRaw,
		DiskBytes: disk}, err
}

// diskUse is what the database takes on disk. Servers are slow to tell it, so
// it is asked for in the background.
type diskUse struct {
	mu    sync.Mutex
	asked time.Time
	bytes int64
}

// diskEvery is how old the answer may be.
const diskEvery = 30 * time.Second

func (u *diskUse) refresh(ctx context.Context, s *Store) {
	u.mu.Lock()
	old := time.Since(u.asked) > diskEvery
	u.mu.Unlock()
	if !old {
		return
	}
	bytes, err := s.diskBytes(ctx)
	if err != nil {
		return // the next that asks will say
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.bytes, u.asked = bytes, time.Now()
}

// get returns the last answer, or asks where there is none to speak of.
func (u *diskUse) get(ctx context.Context, s *Store) (int64, error) {
	u.mu.Lock()
	bytes, fresh := u.bytes, time.Since(u.asked) < 4*diskEvery
	u.mu.Unlock()
	if fresh && bytes > 0 {
		return bytes, nil
	}
	return s.diskBytes(ctx)
}

func (s *Store) diskBytes(ctx context.Context) (int64, error) {
	var disk struct {
		Storage float64 `bson:"storageSize"`
		Indexes float64 `bson:"indexSize"`
	}
	err := op(ctx, opTimeout, func(ctx context.Context) error {
		return s.db.RunCommand(ctx, bson.D{where("dbStats", 1)}).Decode(&disk)
	})
	return int64(disk.Storage + disk.Indexes), err
}

// Activity implements store.Events.
func (s *Store) Activity(ctx context.Context, since, until time.Time) ([]store.MinuteCounts, error) {
	if err := s.settled(ctx); err != nil {
		return nil, fmt.Errorf("read activity: %w", err)
	}
	lo, hi := bounds(since, until)
	docs, err := find[minuteDoc](ctx, s.minutes, append(bson.D{}, between("start", lo, hi)...), options.Find().SetSort(bson.D{where("start", 1)}))
	if err != nil {
		return nil, fmt.Errorf("read activity: %w", err)
	}
	var out []store.MinuteCounts
	for _, d := range docs {
		m := store.MinuteCounts{Start: fromMicros(d.Start), Events: make(map[string]int64), Alerts: make(map[string]int64)}
		for _, t := range d.Events {
			m.Events[t.Name] = t.N
		}
		for _, t := range d.Alerts {
			m.Alerts[t.Name] = t.N
		}
		out = append(out, m)
	}
	return out, nil
}

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
		f = append(f, where("fold", bson.Regex{Pattern: quoteText(text)}))
	}
	if cursor != "" {
		p, err := parseCursor(cursorHosts, cursor)
		if err != nil {
			return store.HostPage{}, err
		}
		f = append(f, after("seen", p.a, "_id", p.name))
	}
	if err := s.settled(ctx); err != nil {
		return store.HostPage{}, err
	}
	docs, err := find[hostDoc](ctx, s.hosts, f, options.Find().SetSort(bson.D{where("seen", -1), where("_id", -1)}).SetLimit(int64(limit)+1))
	if err != nil {
		return store.HostPage{}, err
	}
	var page store.HostPage
	for i := range docs {
		if i == limit {
			page.Next = formatCursor(cursorHosts, place{a: docs[i-1].Last, name: docs[i-1].Name})
			break
		}
		page.Hosts = append(page.Hosts, docs[i].host())
	}
	return page, nil
}

// Host implements store.Hosts.
func (s *Store) Host(ctx context.Context, name string) (store.Host, error) {
	err := s.settled(ctx)
	if err != nil {
		return store.Host{}, fmt.Errorf("read host %s: %w", name, err)
	}
	d, err := one[hostDoc](ctx, s.hosts, byID(name))
	if err != nil {
		return store.Host{}, fmt.Errorf("read host %s: %w", name, err)
	}
	return d.host(), nil
}

// CountHosts implements store.Hosts.
func (s *Store) CountHosts(ctx context.Context, since time.Time) (total, online int64, err error) {
	if err = s.settled(ctx); err == nil {
		total, err = s.count(ctx, s.hosts, bson.D{})
	}
	if err == nil {
		online, err = s.count(ctx, s.hosts, bson.D{where("seen", bson.D{where("$gte", since.UnixMicro())})})
	}
	if err != nil {
		return 0, 0, fmt.Errorf("count hosts: %w", err)
	}
	return total, online, nil
}
