package redisqueue

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A shard is a stream and the keys that belong to it.
type shard struct {
	n                                          int
	in, due, dead, counts, rate, batches, lost string // keys

	mu sync.Mutex // guards what follows
	// noResendIDs are the IDs of batches that will not be sent again. The server
	// learns them with the next Enqueue.
	noResendIDs []string
}

// maxNoResendIDs bounds shard.noResendIDs. IDs beyond it are dropped, and the server
// remembers them longer than necessary.
const maxNoResendIDs = 4096

// addNoResendIDs adds batches that the server learns with the next Enqueue.
func (s *shard) addNoResendIDs(batchIDs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.noResendIDs)+len(batchIDs) <= maxNoResendIDs {
		s.noResendIDs = append(s.noResendIDs, batchIDs...)
	}
}

// takeNoResendIDs removes the IDs and returns them, also as the
// arguments that the script expects.
func (s *shard) takeNoResendIDs() (ids []string, args []any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids, s.noResendIDs = s.noResendIDs, nil
	args = append(args, len(ids))
	for _, id := range ids {
		args = append(args, id)
	}
	return ids, args
}

func newShard(prefix string, number int) *shard {
	key := func(name string) string { return fmt.Sprintf("%s:{%d}:%s", prefix, number, name) }
	return &shard{n: number, in: key("in"), due: key("due"), dead: key("dead"), counts: key("counts"), rate: key("rate"), batches: key("batches"), lost: key("lost")}
}

// shardOf returns the shard of an agent.
func (q *Queue) shardOf(agent string) *shard {
	h := fnv.New32a()
	h.Write([]byte(agent))
	return q.shards[h.Sum32()%uint32(len(q.shards))]
}

// An entryID identifies a message: the number of its shard and its ID in the
// stream, <ms>-<n << 20 | number of events>.
type entryID struct {
	shard int
	id    string
}

// parse reads the time and the number of events from the ID.
func (e entryID) parse() (enqueued time.Time, events int) {
	ms, n, _ := strings.Cut(e.id, "-")
	at, _ := strconv.ParseInt(ms, 10, 64)
	rest, _ := strconv.ParseUint(n, 10, 64)
	return time.UnixMilli(at).UTC(), int(rest & maxEvents)
}

// before reports whether e was enqueued before o, by the clocks of their servers.
func (e entryID) before(o entryID) bool {
	a, an, _ := strings.Cut(e.id, "-")
	b, bn, _ := strings.Cut(o.id, "-")
	if a != b {
		return lessNumeric(a, b)
	}
	if an != bn {
		return lessNumeric(an, bn)
	}
	return e.shard < o.shard
}

// lessNumeric reports whether a < b, for decimal numbers without leading zeros.
func lessNumeric(a, b string) bool {
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return a < b
}

// shardOfDeadLetter returns the shard of a dead letter, which is part of its ID:
// n * 64 + shard. It returns nil if no dead letter can have that ID.
func (q *Queue) shardOfDeadLetter(id int64) *shard {
	if n := id % maxShards; id > 0 && n < int64(len(q.shards)) {
		return q.shards[n]
	}
	return nil
}
