package redisqueue

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A shard is a stream and what belongs to it.
type shard struct {
	n                                          int
	in, due, dead, counts, rate, batches, lost string // keys

	mu sync.Mutex
	// settled are batches that will not come again, which the server is told
	// with what is enqueued next.
	confirmed []string
}

// maxConfirmed bounds them; what is told never is only remembered for longer.
const maxConfirmed = 4096

// confirm adds to settled.
func (s *shard) confirm(ids ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.confirmed)+len(ids) <= maxConfirmed {
		s.confirmed = append(s.confirmed, ids...)
	}
}

// takeConfirmed returns settled as the script wants them, and leaves none.
func (s *shard) takeConfirmed() (ids []string, args []any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids, s.confirmed = s.confirmed, nil
	args = append(args, len(ids))
	for _, id := range ids {
		args = append(args, id)
	}
	return ids, args
}

func newShard(prefix string, n int) *shard {
	key := func(name string) string { return fmt.Sprintf("%s:{%d}:%s", prefix, n, name) }
	return &shard{n: n, in: key("in"), due: key("due"), dead: key("dead"), counts: key("counts"), rate: key("rate"), batches: key("batches"), lost: key("lost")}
}

// shardOf is the shard of what an agent sends.
func (q *Queue) shardOf(agent string) *shard {
	h := fnv.New32a()
	h.Write([]byte(agent))
	return q.shards[h.Sum32()%uint32(len(q.shards))]
}

// An entry names a message: its shard's number and its id there,
// <ms>-<n << 20 | its events>.
type entry struct {
	shard int
	id    string
}

// decode reads what an id says.
func (e entry) decode() (enqueued time.Time, events int) {
	ms, n, _ := strings.Cut(e.id, "-")
	at, _ := strconv.ParseInt(ms, 10, 64)
	rest, _ := strconv.ParseUint(n, 10, 64)
	return time.UnixMilli(at).UTC(), int(rest & maxEvents)
}

// before reports whether an entry was enqueued before another, by the clocks
// of their servers.
func (e entry) before(o entry) bool {
	a, an, _ := strings.Cut(e.id, "-")
	b, bn, _ := strings.Cut(o.id, "-")
	if a != b {
		return lessDigits(a, b)
	}
	if an != bn {
		return lessDigits(an, bn)
	}
	return e.shard < o.shard
}

// lessDigits compares numbers without leading zeros.
func lessDigits(a, b string) bool {
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return a < b
}

// shardOfDeadLetter is where a letter is, as its id says: <n * 64 + its shard>;
// nil where no letter can have that id.
func (q *Queue) shardOfDeadLetter(id int64) *shard {
	if n := id % maxShards; id > 0 && n < int64(len(q.shards)) {
		return q.shards[n]
	}
	return nil
}
