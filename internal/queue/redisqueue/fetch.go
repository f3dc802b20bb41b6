package redisqueue

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisstats"
	"github.com/picket-edr/picket/internal/redisurl"
)

// maxBlock is how long one read waits for a message: as long as it may take
// to see one that another process gave back.
const maxBlock = 500 * time.Millisecond

// maxBackoff bounds the pause after a read that failed.
const maxBackoff = 2 * time.Second

// A fetched message is one that this queue just got.
type fetched struct {
	entry    entry
	delivery queue.Delivery
}

// fetch reads as long as somebody waits, until the queue is closed. No error
// ends it: who asks again makes it try again.
func (l *pipeliner) fetch() {
	q := l.q
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	f := fetcher{pipeliner: l, avgSize: 16 << 10, activeStreams: len(l.shards)}
	failures := 0
	for {
		select {
		case <-q.stop:
			return
		case <-l.wake:
		}
		for q.closed() == nil {
			want := q.wanted()
			if want <= 0 {
				break
			}
			q.readLock.RLock()
			ms, err := f.round(ctx, want)
			q.deliver(ms)
			q.readLock.RUnlock()
			if err == nil && f.suspects {
				err = f.isolate(ctx)
			}
			if err == nil {
				failures = 0
				continue
			}
			q.failWaiters(redisstats.WrapError(err))
			failures++
			f.lastClaim = time.Time{} // what an answer that got lost leased
			select {
			case <-q.stop:
				return
			case <-time.After(jitter(min(25*time.Millisecond<<min(failures, 8), maxBackoff))):
			}
		}
	}
}

// A fetcher is what the reader of a lane remembers.
type fetcher struct {
	pipeliner     *pipeliner
	avgSize       int       // bytes of a message, about
	lastDueCheck  time.Time // when due was looked at
	nextDue       time.Time // when the next message is due; zero: none that is known
	lastClaim     time.Time // when what others hold was looked at
	streams       []string  // for XREADGROUP
	activeStreams int       // how many of them gave something the last time
	// suspects is whether messages wait that are to be delivered alone.
	suspects bool
}

// round leases messages: those whose time has come again, then those that
// nobody renews, then new ones.
func (f *fetcher) round(ctx context.Context, want int) ([]fetched, error) {
	q, now := f.pipeliner.q, time.Now()
	due := f.pipeliner.checkDue.Swap(false) || now.Sub(f.lastDueCheck) > maxBlock || !f.nextDue.IsZero() && now.After(f.nextDue)
	if due {
		f.lastDueCheck = now
		if ms, err := f.leaseDue(ctx, f.pipeliner.shards, want, false); len(ms) > 0 || err != nil {
			f.pipeliner.checkDue.Store(true) // there may be more
			return ms, err
		}
	}
	if now.Sub(f.lastClaim) > q.opt.Lease/4 {
		f.lastClaim = now
		if ms, err := f.claim(ctx, want); len(ms) > 0 || err != nil {
			return ms, err
		}
	}
	block := maxBlock
	if !f.nextDue.IsZero() {
		block = min(block, max(time.Until(f.nextDue), time.Millisecond))
	}
	return f.read(ctx, want, block)
}

// perStream is how many messages to ask each of the lane's streams for, so that
// those that have some give about what is wanted. What comes beyond that is
// the next receiver's.
func (f *fetcher) perStream(want int) int {
	return max(min((want+f.activeStreams-1)/f.activeStreams, maxReceive/f.avgSize/f.activeStreams), 1)
}

func (f *fetcher) read(ctx context.Context, want int, block time.Duration) ([]fetched, error) {
	q := f.pipeliner.q
	if f.streams == nil {
		for _, s := range f.pipeliner.shards {
			f.streams = append(f.streams, s.in)
		}
		for range f.pipeliner.shards {
			f.streams = append(f.streams, ">")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, block+redisurl.CommandTimeout)
	defer cancel()
	streams, err := q.client.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: groupName, Consumer: q.consumer, Streams: f.streams, Count: int64(f.perStream(want)), Block: block,
	}).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if isNoGroup(err) {
		return nil, q.createGroups(ctx, f.pipeliner.shards)
	}
	if err != nil {
		return nil, err
	}
	var ms []fetched
	f.activeStreams = len(streams)
	for _, st := range streams {
		i := slices.IndexFunc(f.pipeliner.shards, func(s *shard) bool { return s.in == st.Stream })
		for _, m := range st.Messages {
			text := func(name string) string { v, _ := m.Values[name].(string); return v }
			ms = append(ms, f.newFetched(f.pipeliner.shards[i], m.ID, 1, 0, text("b"), text("a"), text("d")))
		}
	}
	return ms, nil
}

func (f *fetcher) newFetched(s *shard, id string, deliveries, lost int, batch, agent, payload string) fetched {
	f.avgSize = max((7*f.avgSize+len(payload))/8, 1)
	e := entry{s.n, id}
	return fetched{e, delivery(e, deliveries, lost, batch, agent, payload)}
}

func delivery(e entry, attempt, lost int, batch, agent, payload string) queue.Delivery {
	at, events := e.decode()
	return queue.Delivery{
		Message: queue.Message{ID: batch, Agent: agent, Events: events, Payload: []byte(payload)},
		Attempt: attempt, Lost: lost, Enqueued: at,
	}
}

// leaseDue leases messages that were given back and whose time has come: of
// those that are to be delivered alone either one of each shard, or none.
func (f *fetcher) leaseDue(ctx context.Context, shards []*shard, want int, alone bool) ([]fetched, error) {
	q := f.pipeliner.q
	var calls []*call
	for _, s := range shards {
		args := []any{q.consumer, f.perStream(want), queue.IsolateAfter, 0}
		if alone {
			args[1], args[3] = 1, 1
		}
		calls = append(calls, &call{script: dueScript, keys: []string{s.in, s.due, s.lost}, args: args})
	}
	err := q.run(ctx, calls, false)
	var ms []fetched
	f.nextDue = time.Time{}
	for i, c := range calls {
		out, _ := c.cmd.Slice() // err has its error
		if len(out) < 2 {
			continue
		}
		if wait, _ := out[0].(int64); wait >= 0 {
			if at := time.Now().Add(time.Duration(wait) * time.Millisecond); f.nextDue.IsZero() || at.Before(f.nextDue) {
				f.nextDue = at
			}
		}
		if n, _ := out[1].(int64); n > 0 {
			f.suspects = true
		}
		ms = f.appendMessages(ms, shards[i], out[2:])
	}
	return ms, err
}

// consumerIdleLeases is after how many leases a consumer that holds nothing and
// does nothing is forgotten.
const consumerIdleLeases = 20

// claim takes over what other consumers hold and no longer renew, and what
// this one was given in an answer that it never got.
func (f *fetcher) claim(ctx context.Context, want int) ([]fetched, error) {
	q := f.pipeliner.q
	lease := q.opt.Lease.Milliseconds()
	var calls []*call
	for _, s := range f.pipeliner.shards {
		calls = append(calls, &call{script: claimScript, keys: []string{s.in, s.due, s.lost, s.counts, s.rate, s.dead},
			args: []any{q.consumer, lease, f.perStream(want), consumerIdleLeases * lease,
				s.n, queue.IsolateAfter, queue.MaxLost, queue.LostCause(queue.MaxLost)}})
	}
	err := q.run(ctx, calls, false)
	var ms []fetched
	suspects := 0
	for i, c := range calls {
		out, _ := c.cmd.Slice() // err has its error
		if len(out) < 2 {
			continue
		}
		dead, _ := out[0].([]any)
		for _, batch := range dead {
			q.log.Error("batch dead-lettered", "batch", batch, "cause", queue.LostCause(queue.MaxLost))
		}
		n, _ := out[1].(int64)
		suspects += int(n)
		ms = f.appendMessages(ms, f.pipeliner.shards[i], out[2:])
	}
	if n := len(ms) + suspects; n > 0 {
		f.lastClaim = time.Time{} // there may be more
		f.pipeliner.checkDue.Store(suspects > 0 || f.pipeliner.checkDue.Load())
		q.log.Info("took over messages whose lease ended", "messages", n)
	}
	return ms, err
}

// appendMessages reads id, deliveries, lost times and fields of each message of
// a shard.
func (f *fetcher) appendMessages(ms []fetched, s *shard, out []any) []fetched {
	eachMessage(s, out, func(e entry, deliveries, lost int, batch, agent, payload string) {
		ms = append(ms, f.newFetched(s, e.id, deliveries, lost, batch, agent, payload))
	})
	return ms
}

// eachMessage calls f with what a script returned of messages.
func eachMessage(s *shard, out []any, f func(e entry, deliveries, lost int, batch, agent, payload string)) {
	for i := 0; i+3 < len(out); i += 4 {
		id, _ := out[i].(string)
		n, _ := out[i+1].(int64)
		lost, _ := out[i+2].(int64)
		fields, _ := out[i+3].([]any)
		v := make(map[string]string, 3)
		for j := 0; j+1 < len(fields); j += 2 {
			name, _ := fields[j].(string)
			v[name], _ = fields[j+1].(string)
		}
		f(entry{s.n, id}, int(n), int(lost), v["b"], v["a"], v["d"])
	}
}
