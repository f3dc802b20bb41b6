package mongostore

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// counterSlots is how many documents share each count. A transaction adds to one of
// them, chosen at random, so that few transactions conflict.
const counterSlots = 64

// A counterDoc is a share of the counters of one kind, in collection counters. Its _id
// begins with the kind: totals/SLOT, minute/MINUTE/SLOT or rule/SLOT/RULE.
type counterDoc struct {
	ID string `bson:"_id"`

	// Of totals.
	Stored      int64            `bson:"stored,omitempty"`
	Duplicate   int64            `bson:"duplicate,omitempty"`
	Conflicting int64            `bson:"conflicting,omitempty"` // of Duplicate
	Matches     int64            `bson:"matches,omitempty"`
	Raw         int64            `bson:"raw,omitempty"`         // bytes of all events stored
	Deleted     int64            `bson:"deleted,omitempty"`     // events
	DeletedRaw  int64            `bson:"deleted_raw,omitempty"` // bytes of the events deleted
	Newest      int64            `bson:"newest,omitempty"`      // greatest seq of an event
	Alerts      map[string]int64 `bson:"alerts,omitempty"`      // by alertCountKey

	// Of a minute.
	Events map[string]int64 `bson:"events,omitempty"` // by type, as a key
	Opened map[string]int64 `bson:"opened,omitempty"` // alerts by level, as a key

	// Of a rule: its alerts that are not closed, and their matches.
	Rule        string `bson:"rule,omitempty"`
	OpenAlerts  int64  `bson:"open_alerts,omitempty"`
	OpenMatches int64  `bson:"open_matches,omitempty"`
}

const (
	totalsPrefix = "totals/"
	minutePrefix = "minute/"
	rulePrefix   = "rule/"
)

// mergedSlot is the slot of a minute whose slots were merged. importedSlot is that of the
// totals of another store.
const (
	mergedSlot   = "all"
	importedSlot = "imported"
)

// idsFrom selects the counters whose _id has a prefix.
func idsFrom(prefix string) bson.D { return idRange(prefix, prefix+"\uffff") }

func idRange(from, before string) bson.D {
	return bson.D{bsonElem("_id", bson.D{bsonElem("$gte", from), bsonElem("$lt", before)})}
}

func minuteCounterPrefix(start int64) string {
	return minutePrefix + fromMicros(start).Format(minuteFormat) + "/"
}

const minuteFormat = "2006-01-02T15:04"

// keyEscaper makes a name a key of a document, which is not empty and has no dots, dollar
// signs and zero bytes. "%" alone stands for the empty name.
var (
	keyEscaper   = strings.NewReplacer("%", "%25", ".", "%2E", "$", "%24", "\x00", "%00")
	keyUnescaper = strings.NewReplacer("%25", "%", "%2E", ".", "%24", "$", "%00", "\x00")
)

func nameToKey(name string) string { return cmp.Or(keyEscaper.Replace(name), "%") }

func keyToName(key string) string {
	if key == "%" {
		return ""
	}
	return keyUnescaper.Replace(key)
}

// alertCountKey is the key of the alerts with a status and level.
func alertCountKey(status, level string) string { return status + " " + nameToKey(level) }

// counterChanges are what a transaction adds to counters of one slot.
type counterChanges struct {
	slot string
	add  map[string]map[string]int64 // by _id and field
	rule map[string]string           // of the counters of rules, by _id

	newest int64 // greatest seq of an event that is stored; 0: none
}

func newCounterChanges() *counterChanges {
	return &counterChanges{slot: fmt.Sprint(rand.IntN(counterSlots)), add: make(map[string]map[string]int64), rule: make(map[string]string)}
}

func (c *counterChanges) addTo(id, field string, n int64) {
	if n == 0 {
		return
	}
	if c.add[id] == nil {
		c.add[id] = make(map[string]int64)
	}
	c.add[id][field] += n
}

func (c *counterChanges) addToTotals(field string, n int64) { c.addTo(totalsPrefix+c.slot, field, n) }

func (c *counterChanges) addToMinute(start int64, field, name string, n int64) {
	c.addTo(minuteCounterPrefix(start)+c.slot, field+"."+nameToKey(name), n)
}

// countAlert counts n alerts of the status and level of a.
func (c *counterChanges) countAlert(a *picket.Alert, n int64) {
	c.addToTotals("alerts."+alertCountKey(string(a.Status), a.Level.String()), n)
}

// countOpenAlerts counts n alerts of a rule that are not closed, with their matches.
func (c *counterChanges) countOpenAlerts(rule string, n, matches int64) {
	id := rulePrefix + c.slot + "/" + rule
	c.addTo(id, "open_alerts", n)
	c.addTo(id, "open_matches", matches)
	c.rule[id] = rule
}

// writes returns the changes.
func (c *counterChanges) writes(s *Store) []write {
	var out []write
	for _, id := range slices.Sorted(maps.Keys(c.add)) {
		var fields bson.D
		for _, field := range slices.Sorted(maps.Keys(c.add[id])) {
			fields = append(fields, bsonElem(field, c.add[id][field]))
		}
		update := bson.D{bsonElem("$inc", fields)}
		if c.newest > 0 && id == totalsPrefix+c.slot {
			update = append(update, bsonElem("$max", bson.D{bsonElem("newest", c.newest)}))
		}
		if rule, ok := c.rule[id]; ok {
			update = append(update, bsonElem("$setOnInsert", bson.D{bsonElem("rule", rule)}))
		}
		out = append(out, updateOf(s.counters, id, update))
	}
	return out
}

// readTotals sums the totals of all slots.
func (s *Store) readTotals(ctx context.Context) (counterDoc, error) {
	docs, err := find[counterDoc](ctx, s.counters, idsFrom(totalsPrefix))
	if err != nil {
		return counterDoc{}, fmt.Errorf("read totals: %w", err)
	}
	sum := counterDoc{Alerts: make(map[string]int64)}
	for _, d := range docs {
		sum.Stored += d.Stored
		sum.Duplicate += d.Duplicate
		sum.Conflicting += d.Conflicting
		sum.Matches += d.Matches
		sum.Raw += d.Raw
		sum.Deleted += d.Deleted
		sum.DeletedRaw += d.DeletedRaw
		sum.Newest = max(sum.Newest, d.Newest)
		addCounts(sum.Alerts, d.Alerts)
	}
	return sum, nil
}

func addCounts(sum, counts map[string]int64) {
	for key, n := range counts {
		sum[key] += n
	}
}

// Activity implements store.Events.
func (s *Store) Activity(ctx context.Context, since, until time.Time) ([]store.MinuteCounts, error) {
	lo, hi := minutePrefix, minutePrefix+"\uffff"
	if !since.IsZero() {
		lo = minuteCounterPrefix(store.StartOfMinuteMicros(since.UnixMicro() + time.Minute.Microseconds() - 1))
	}
	if !until.IsZero() {
		hi = minuteCounterPrefix(store.StartOfMinuteMicros(until.UnixMicro() + time.Minute.Microseconds() - 1))
	}
	docs, err := find[counterDoc](ctx, s.counters, idRange(lo, hi), options.Find().SetSort(byID(1)))
	if err != nil {
		return nil, fmt.Errorf("read activity: %w", err)
	}
	var out []store.MinuteCounts
	for _, m := range sumMinutes(docs) {
		c := store.MinuteCounts{Start: m.start, Events: make(map[string]int64), Alerts: make(map[string]int64)}
		for key, n := range m.events {
			c.Events[keyToName(key)] = n
		}
		for key, n := range m.opened {
			c.Alerts[keyToName(key)] = n
		}
		out = append(out, c)
	}
	return out, nil
}

// minuteSums are the counts of one minute, by key.
type minuteSums struct {
	start          time.Time
	events, opened map[string]int64
	ids            []string // of the documents that were summed
}

// sumMinutes sums the slots of each minute. docs are in the order of their ids.
func sumMinutes(docs []counterDoc) []minuteSums {
	var out []minuteSums
	for _, d := range docs {
		minute, _, _ := strings.Cut(strings.TrimPrefix(d.ID, minutePrefix), "/")
		start, err := time.Parse(minuteFormat, minute)
		if err != nil {
			continue // not picket's
		}
		if n := len(out); n == 0 || !out[n-1].start.Equal(start) {
			out = append(out, minuteSums{start: start, events: make(map[string]int64), opened: make(map[string]int64)})
		}
		m := &out[len(out)-1]
		addCounts(m.events, d.Events)
		addCounts(m.opened, d.Opened)
		m.ids = append(m.ids, d.ID)
	}
	for i := range out {
		foldRareTypes(out[i].events)
	}
	return out
}

// foldRareTypes counts the rarest types past store.MaxTypesPerMinute as
// store.OtherTypesName.
func foldRareTypes(events map[string]int64) {
	other := nameToKey(store.OtherTypesName)
	keys := slices.SortedFunc(maps.Keys(events), func(a, b string) int {
		return cmp.Or(cmp.Compare(events[b], events[a]), strings.Compare(a, b))
	})
	keys = slices.DeleteFunc(keys, func(key string) bool { return key == other })
	for _, key := range keys[min(len(keys), store.MaxTypesPerMinute):] {
		events[other] += events[key]
		delete(events, key)
	}
}

const (
	// Minutes are merged when hardly any event is still counted in them. Later events
	// make further slots, which a later merge finds for a day.
	minuteMergeAfter  = 10 * time.Minute
	minuteMergeWithin = 24 * time.Hour
	minuteMergeEvery  = 10 * time.Minute
	maxMergedMinutes  = 60 // in one transaction
)

// mergeMinutes replaces the slots of each past minute by one document.
func (s *Store) mergeMinutes(ctx context.Context, now time.Time) error {
	since := minuteCounterPrefix(now.Add(-minuteMergeWithin).UnixMicro())
	before := minuteCounterPrefix(now.Add(-minuteMergeAfter).UnixMicro())
	for {
		ids, err := find[counterDoc](ctx, s.counters, idRange(since, before), options.Find().SetSort(byID(1)).SetProjection(byID(1)))
		if err != nil {
			return fmt.Errorf("list minutes: %w", err)
		}
		minutes := slices.DeleteFunc(sumMinutes(ids), func(m minuteSums) bool { return len(m.ids) < 2 })
		if len(minutes) == 0 {
			return nil
		}
		var merge []string
		for _, m := range minutes[:min(len(minutes), maxMergedMinutes)] {
			merge = append(merge, m.ids...)
		}
		if err := s.transact(ctx, func(ctx context.Context) error { return s.replaceByMerged(ctx, merge) }); err != nil {
			return fmt.Errorf("merge minutes: %w", err)
		}
	}
}

// replaceByMerged replaces the slots with some ids, in a transaction.
func (s *Store) replaceByMerged(ctx context.Context, ids []string) error {
	selected := bson.D{bsonElem("_id", bson.D{bsonElem("$in", ids)})}
	docs, err := find[counterDoc](ctx, s.counters, selected, options.Find().SetSort(byID(1)))
	if err != nil {
		return err
	}
	var writes []write
	for _, m := range sumMinutes(docs) {
		for _, id := range m.ids {
			writes = append(writes, deletionOf(s.counters, id))
		}
		writes = append(writes, insertOf(s.counters, counterDoc{ID: minuteCounterPrefix(m.start.UnixMicro()) + mergedSlot, Events: m.events, Opened: m.opened}))
	}
	return s.writeAll(ctx, writes)
}

// A typeLimiter bounds the event types that this process counts by name in a minute.
type typeLimiter struct {
	mu      sync.Mutex
	minutes map[int64]map[string]bool
}

// maxLimitedMinutes is how many minutes a typeLimiter remembers.
const maxLimitedMinutes = 64

// name returns the name under which a type is counted.
func (l *typeLimiter) name(minute int64, eventType string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	types := l.minutes[minute]
	switch {
	case types[eventType]:
		return eventType
	case len(types) >= store.MaxTypesPerMinute:
		return store.OtherTypesName
	case types == nil && len(l.minutes) >= maxLimitedMinutes:
		delete(l.minutes, slices.Min(slices.Collect(maps.Keys(l.minutes))))
	}
	if types == nil {
		types = make(map[string]bool)
		if l.minutes == nil {
			l.minutes = make(map[int64]map[string]bool)
		}
		l.minutes[minute] = types
	}
	types[strings.Clone(eventType)] = true
	return eventType
}
