package mongostore

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma/casefold"
)

// Batches of a collector are of many hosts. If each save wrote their documents, all saves
// would conflict. So a save inserts what it adds to hosts as a document of its own, and
// once a second each process applies those of its saves to the hosts, and deletes them.
// Whoever reads hosts applies the rest.

// A hostActivityDoc is what a save adds to hosts, in host_activity.
type hostActivityDoc struct {
	ID      bson.ObjectID  `bson:"_id,omitempty"`
	Process string         `bson:"process"` // that saved it
	At      int64          `bson:"at"`      // microseconds
	Hosts   []hostActivity `bson:"hosts"`
}

type hostActivity struct {
	Name   string `bson:"name"`
	Agent  string `bson:"agent"`
	OS     string `bson:"os,omitempty"`
	First  int64  `bson:"first"` // receipt, microseconds
	Last   int64  `bson:"last"`
	Events int64  `bson:"events"`
}

// hostActivities are sums of activity by host.
type hostActivities map[store.HostKey]*store.HostActivity

// add adds activity of a host.
func (h hostActivities) add(key store.HostKey, a *store.HostActivity) {
	sum := h[key]
	if sum == nil {
		sum = &store.HostActivity{First: a.First, Last: a.Last}
		h[key] = sum
	}
	if a.OS != "" && (a.Last >= sum.Last || sum.OS == "") {
		sum.OS = a.OS
	}
	sum.First, sum.Last = min(sum.First, a.First), max(sum.Last, a.Last)
	sum.Events += a.Events
}

// maxHostsPerDoc bounds the size of a hostActivityDoc.
const maxHostsPerDoc = 10_000

// insertions returns the insertions of the activity.
func (h hostActivities) insertions(s *Store) (out []write) {
	keys := sortedHosts(h)
	for len(keys) > 0 {
		n := min(len(keys), maxHostsPerDoc)
		d := hostActivityDoc{Process: s.process, At: time.Now().UnixMicro(), Hosts: make([]hostActivity, n)}
		for i, key := range keys[:n] {
			a := h[key]
			d.Hosts[i] = hostActivity{Name: key.Name, Agent: key.AgentID, OS: a.OS, First: a.First, Last: a.Last, Events: a.Events}
		}
		out = append(out, insertOf(s.hostActivity, d))
		keys = keys[n:]
	}
	return out
}

const (
	hostActivityEvery = time.Second
	// hostActivityMaxAge is when any process applies what the process that saved it has not.
	hostActivityMaxAge = 10 * time.Second
	// maxAppliedDocs is how many documents of activity one transaction applies.
	maxAppliedDocs = 200
)

// applyHostActivity applies the activity that a filter selects.
func (s *Store) applyHostActivity(ctx context.Context, filter bson.D) error {
	for {
		some, err := find[bson.Raw](ctx, s.hostActivity, filter, options.Find().SetLimit(1).SetProjection(byID(1)))
		if err == nil && len(some) > 0 {
			err = s.transact(ctx, func(ctx context.Context) error { return s.applySomeHostActivity(ctx, filter) })
		}
		if err != nil {
			return fmt.Errorf("apply the activity of hosts: %w", err)
		}
		if len(some) == 0 {
			return nil
		}
	}
}

// applySomeHostActivity applies up to maxAppliedDocs documents of activity, in a transaction.
func (s *Store) applySomeHostActivity(ctx context.Context, filter bson.D) error {
	docs, err := find[hostActivityDoc](ctx, s.hostActivity, filter, options.Find().SetLimit(maxAppliedDocs))
	if err != nil {
		return err
	}
	sum := make(hostActivities)
	var writes []write
	for _, d := range docs {
		for _, h := range d.Hosts {
			sum.add(store.HostKey{AgentID: h.Agent, Name: h.Name}, &store.HostActivity{OS: h.OS, First: h.First, Last: h.Last, Events: h.Events})
		}
		writes = append(writes, deletionOf(s.hostActivity, d.ID))
	}
	for _, key := range sortedHosts(sum) {
		a := sum[key]
		update := bson.D{
			bsonElem("$min", bson.D{bsonElem("first", a.First)}), bsonElem("$max", bson.D{bsonElem("seen", a.Last)}),
			bsonElem("$inc", bson.D{bsonElem("events", a.Events)}),
		}
		if a.OS != "" {
			update = append(update, bsonElem("$set", bson.D{bsonElem("os", a.OS)}))
		}
		writes = append(writes, updateOfHost(s, key, update))
	}
	return s.writeAll(ctx, writes)
}

// updateOfHost returns an update of a host's document, which it inserts if there is none.
func updateOfHost(s *Store, key store.HostKey, update bson.D) write {
	return updateOf(s.hosts, hostID(key), append(update,
		bsonElem("$setOnInsert", bson.D{bsonElem("agent_id", key.AgentID), bsonElem("fold", casefold.String(key.Name))})))
}

// applyOwnHostActivity applies what this process has saved, and what others have left.
func (s *Store) applyOwnHostActivity(ctx context.Context, now time.Time) error {
	old := bson.D{bsonElem("at", bson.D{bsonElem("$lt", now.Add(-hostActivityMaxAge).UnixMicro())})}
	err := s.applyHostActivity(ctx, bson.D{bsonElem("process", s.process)})
	if err == nil {
		err = s.applyHostActivity(ctx, old)
	}
	return err
}
