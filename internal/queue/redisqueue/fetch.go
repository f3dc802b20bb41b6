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

// A leased message is one that this queue just got.
type leased struct {
	entry    entry
	delivery queue.Delivery
}

// fetch reads as long as somebody waits, until the queue is closed. No error
// ends it: who asks again makes it try again.
func (l *lane) fetch() {
	q := l.q
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	f := fetcher{lane: l, size: 16 << 10, active: len(l.shards)}
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
			q.reads.RLock()
			ms, err := f.round(ctx, want)
			q.deliver(ms)
			q.reads.RUnlock()
			if err == nil && f.suspects {
				err = f.isolate(ctx)
			}
			if err == nil {
				failures = 0
				continue
			}
			q.failWaiters(redisstats.WrapError(err))
			failures++
			f.claimed = time.Time{} // what an answer that got lost leased
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
	lane    *lane
	size    int       // bytes of a message, about
	looked  time.Time // when due was looked at
	next    time.Time // when the next message is due; zero: none that is known
	claimed time.Time // when what others hold was looked at
	streams []string  // for XREADGROUP
	active  int       // how many of them gave something the last time
	// suspects is whether messages wait that are to be delivered alone.
	suspects bool
}

// round leases messages: those whose time has come again, then those that
// nobody renews, then new ones.
func (f *fetcher) round(ctx context.Context, want int) ([]leased, error) {
	q, now := f.lane.q, time.Now()
	due := f.lane.due.Swap(false) || now.Sub(f.looked) > maxBlock || !f.next.IsZero() && now.After(f.next)
	if due {
		f.looked = now
		if ms, err := f.takeDue(ctx, f.lane.shards, want, false); len(ms) > 0 || err != nil {
			f.lane.due.Store(true) // there may be more
			return ms, err
		}
	}
	if now.Sub(f.claimed) > q.opt.Lease/4 {
		f.claimed = now
		if ms, err := f.claim(ctx, want); len(ms) > 0 || err != nil {
			return ms, err
		}
	}
	block := maxBlock
	if !f.next.IsZero() {
		block = min(block, max(time.Until(f.next), time.Millisecond))
	}
	return f.read(ctx, want, block)
}

// each is how many messages to ask each of the lane's streams for, so that
// those that have some give about what is wanted. What comes beyond that is
// the next receiver's.
func (f *fetcher) each(want int) int {
	return max(min((want+f.active-1)/f.active, maxReceive/f.size/f.active), 1)
}

func (f *fetcher) read(ctx context.Context, want int, block time.Duration) ([]leased, error) {
	q := f.lane.q
	if f.streams == nil {
		for _, s := range f.lane.shards {
			f.streams = append(f.streams, s.in)
		}
		for range f.lane.shards {
			f.streams = append(f.streams, ">")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, block+redisurl.CommandTimeout)
	defer cancel()
	streams, err := q.client.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: group, Consumer: q.consumer, Streams: f.streams, Count: int64(f.each(want)), Block: block,
	}).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if isNoGroup(err) {
		return nil, q.makeGroups(ctx, f.lane.shards)
	}
	if err != nil {
		return nil, err
	}
	var ms []leased
	f.active = len(streams)
	for _, st := range streams {
		i := slices.IndexFunc(f.lane.shards, func(s *shard) bool { return s.in == st.Stream })
		for _, m := range st.Messages {
			text := func(name string) string { v, _ := m.Values[name].(string); return v }
			ms = append(ms, f.lease(f.lane.shards[i], m.ID, 1, 0, text("b"), text("a"), text("d")))
		}
	}
	return ms, nil
}

func (f *fetcher) lease(s *shard, id string, deliveries, lost int, batch, agent, payload string) leased {
	f.size = max((7*f.size+len(payload))/8, 1)
	e := entry{s.n, id}
	return leased{e, delivery(e, deliveries, lost, batch, agent, payload)}
}

func delivery(e entry, attempt, lost int, batch, agent, payload string) queue.Delivery {
	at, events := e.split()
	return queue.Delivery{
		Message: queue.Message{ID: batch, Agent: agent, Events: events, Payload: []byte(payload)},
		Attempt: attempt, Lost: lost, Enqueued: at,
	}
}

// takeDue leases messages that were given back and whose time has come: of
// those that are to be delivered alone either one of each shard, or none.
func (f *fetcher) takeDue(ctx context.Context, shards []*shard, want int, alone bool) ([]leased, error) {
	q := f.lane.q
	var calls []*call
	for _, s := range shards {
		args := []any{q.consumer, f.each(want), queue.IsolateAfter, 0}
		if alone {
			args[1], args[3] = 1, 1
		}
		calls = append(calls, &call{script: dueScript, keys: []string{s.in, s.due, s.lost}, args: args})
	}
	err := q.run(ctx, calls, false)
	var ms []leased
	f.next = time.Time{}
	for i, c := range calls {
		out, _ := c.cmd.Slice() // err has its error
		if len(out) < 2 {
			continue
		}
		if wait, _ := out[0].(int64); wait >= 0 {
			if at := time.Now().Add(time.Duration(wait) * time.Millisecond); f.next.IsZero() || at.Before(f.next) {
				f.next = at
			}
		}
		if n, _ := out[1].(int64); n > 0 {
			f.suspects = true
		}
		ms = f.appendScripted(ms, shards[i], out[2:])
	}
	return ms, err
}

// consumerIdle is after how many leases a consumer that holds nothing and
// does nothing is forgotten.
const consumerIdle = 20

// claim takes over what other consumers hold and no longer renew, and what
// this one was given in an answer that it never got.
func (f *fetcher) claim(ctx context.Context, want int) ([]leased, error) {
	q := f.lane.q
	lease := q.opt.Lease.Milliseconds()
	var calls []*call
	for _, s := range f.lane.shards {
		calls = append(calls, &call{script: claimScript, keys: []string{s.in, s.due, s.lost, s.counts, s.rate, s.dead},
			args: []any{q.consumer, lease, f.each(want), consumerIdle * lease,
				s.n, queue.IsolateAfter, queue.MaxLost, queue.LostCause(queue.MaxLost)}})
	}
	err := q.run(ctx, calls, false)
	var ms []leased
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
		ms = f.appendScripted(ms, f.lane.shards[i], out[2:])
	}
	if n := len(ms) + suspects; n > 0 {
		f.claimed = time.Time{} // there may be more
		f.lane.due.Store(suspects > 0 || f.lane.due.Load())
		q.log.Info("took over messages whose lease ended", "messages", n)
	}
	return ms, err
}

// appendScripted reads id, deliveries, lost times and fields of each message of
// a shard.
func (f *fetcher) appendScripted(ms []leased, s *shard, out []any) []leased {
	eachScripted(s, out, func(e entry, deliveries, lost int, batch, agent, payload string) {
		ms = append(ms, f.lease(s, e.id, deliveries, lost, batch, agent, payload))
	})
	return ms
}

// eachScripted calls f with what a script returned of messages.
func eachScripted(s *shard, out []any, f func(e entry, deliveries, lost int, batch, agent, payload string)) {
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
