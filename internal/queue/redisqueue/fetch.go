package redisqueue

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picket-edr/picket/internal/backoff"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisstats"
	"github.com/picket-edr/picket/internal/redisurl"
)

// maxBlockTime is how long one read waits for a message, and therefore how long it
// may take to notice a message that another process returned.
const maxBlockTime = 500 * time.Millisecond

var fetchBackoff = backoff.Policy{First: 50 * time.Millisecond, Max: 2 * time.Second}

// A fetchedMessage is a message that was just leased.
type fetchedMessage struct {
	entry    entryID
	delivery queue.Delivery
}

// fetchLoop leases messages while receivers wait, until the queue is closed. Errors
// go to the receivers that wait, and fetch tries again if there are others.
func (p *pipeliner) fetchLoop() {
	q := p.q
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	f := fetcher{pipeliner: p, avgSize: 16 << 10, activeStreams: len(p.shards)}
	failures := 0
	for {
		select {
		case <-q.stop:
			return
		case <-p.wake:
		}
		for q.checkOpen() == nil {
			want := q.countWanted()
			if want <= 0 {
				break
			}
			var err error
			if f.suspects {
				err = f.isolate(ctx)
			} else {
				q.readLock.RLock()
				var ms []fetchedMessage
				ms, err = f.fetchRound(ctx, want)
				q.deliver(ms)
				q.readLock.RUnlock()
			}
			if err == nil {
				failures = 0
				continue
			}
			q.failWaiters(redisstats.WrapError(err))
			failures++
			f.lastClaim = time.Time{} // a lost reply may have leased messages
			select {
			case <-q.stop:
				return
			case <-time.After(fetchBackoff.Delay(failures)):
			}
		}
	}
}

// A fetcher is the state of a pipeliner's fetch.
type fetcher struct {
	pipeliner     *pipeliner
	avgSize       int       // of a message in bytes, approximately
	lastDueCheck  time.Time // of delayed messages
	nextDue       time.Time // when the next delayed message is due; zero: none known
	lastClaim     time.Time // of messages whose leases ended
	streams       []string  // the arguments of XREADGROUP
	activeStreams int       // how many of them had messages the last time
	suspects      bool      // messages are waiting to be isolated
}

// fetchRound leases messages: first delayed ones that are due, then those whose leases
// ended, then new ones.
func (f *fetcher) fetchRound(ctx context.Context, wanted int) ([]fetchedMessage, error) {
	q, now := f.pipeliner.q, time.Now()
	due := f.pipeliner.checkDue.Swap(false) || now.Sub(f.lastDueCheck) > maxBlockTime || !f.nextDue.IsZero() && now.After(f.nextDue)
	if due {
		f.lastDueCheck = now
		if ms, err := f.leaseDue(ctx, f.pipeliner.shards, wanted, false); len(ms) > 0 || err != nil {
			f.pipeliner.checkDue.Store(true) // there may be more
			return ms, err
		}
	}
	if now.Sub(f.lastClaim) > q.opt.Lease/4 {
		f.lastClaim = now
		if ms, err := f.claimExpired(ctx, wanted); len(ms) > 0 || err != nil {
			return ms, err
		}
	}
	block := maxBlockTime
	if !f.nextDue.IsZero() {
		block = min(block, max(time.Until(f.nextDue), time.Millisecond))
	}
	return f.readNew(ctx, wanted, block)
}

// countPerStream returns how many messages to request from each stream so that the
// active ones return about as many as wanted. Any excess is prefetched for the
// next receiver.
func (f *fetcher) countPerStream(wanted int) int {
	return max(min((wanted+f.activeStreams-1)/f.activeStreams, maxReceiveBytes/f.avgSize/f.activeStreams), 1)
}

func (f *fetcher) readNew(ctx context.Context, wanted int, block time.Duration) ([]fetchedMessage, error) {
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
		Group: groupName, Consumer: q.consumer, Streams: f.streams, Count: int64(f.countPerStream(wanted)), Block: block,
	}).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if isNoGroup(err) {
		return nil, q.createConsumerGroups(ctx, f.pipeliner.shards)
	}
	if err != nil {
		return nil, err
	}
	var ms []fetchedMessage
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

func (f *fetcher) newFetched(s *shard, id string, deliveries, lost int, batch, agent, payload string) fetchedMessage {
	f.avgSize = max((7*f.avgSize+len(payload))/8, 1)
	e := entryID{s.n, id}
	return fetchedMessage{e, delivery(e, deliveries, lost, batch, agent, payload)}
}

func delivery(e entryID, attempt, lost int, batch, agent, payload string) queue.Delivery {
	at, events := e.parse()
	return queue.Delivery{
		Message: queue.Message{ID: batch, Agent: agent, Events: events, Payload: []byte(payload)},
		Attempt: attempt, Lost: lost, Enqueued: at,
	}
}

// leaseDue leases delayed messages that are due: one suspect of each shard if
// suspectsOnly, or otherwise any that are no suspects.
func (f *fetcher) leaseDue(ctx context.Context, shards []*shard, wanted int, suspectsOnly bool) ([]fetchedMessage, error) {
	q := f.pipeliner.q
	var calls []*call
	for _, s := range shards {
		args := []any{q.consumer, f.countPerStream(wanted), queue.IsolateAfterLost, 0}
		if suspectsOnly {
			args[1], args[3] = 1, 1
		}
		calls = append(calls, &call{script: leaseDueScript, keys: []string{s.in, s.due, s.lost}, args: args})
	}
	err := q.runCalls(ctx, calls, false)
	var ms []fetchedMessage
	f.nextDue = time.Time{}
	for i, c := range calls {
		out, _ := c.cmd.Slice() // err includes its error
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

// A consumer that has leased nothing and is idle for idleConsumerLeasePeriods times
// Options.Lease is deleted.
const idleConsumerLeasePeriods = 20

// claimExpired leases messages that other consumers no longer renew, and those that
// were leased to this one by a reply that was lost.
func (f *fetcher) claimExpired(ctx context.Context, wanted int) ([]fetchedMessage, error) {
	q := f.pipeliner.q
	lease := q.opt.Lease.Milliseconds()
	var calls []*call
	for _, s := range f.pipeliner.shards {
		calls = append(calls, &call{script: claimScript, keys: []string{s.in, s.due, s.lost},
			args: []any{q.consumer, lease, f.countPerStream(wanted), idleConsumerLeasePeriods * lease,
				queue.IsolateAfterLost}})
	}
	err := q.runCalls(ctx, calls, false)
	var ms []fetchedMessage
	suspects := 0
	for i, c := range calls {
		out, _ := c.cmd.Slice() // err includes its error
		if len(out) < 1 {
			continue
		}
		n, _ := out[0].(int64)
		suspects += int(n)
		ms = f.appendMessages(ms, f.pipeliner.shards[i], out[1:])
	}
	if n := len(ms) + suspects; n > 0 {
		f.lastClaim = time.Time{} // there may be more
		f.pipeliner.checkDue.Store(suspects > 0 || f.pipeliner.checkDue.Load())
		q.log.Info("took over messages with expired leases", "messages", n)
	}
	return ms, err
}

// appendMessages appends the messages of a shard that a script returned.
func (f *fetcher) appendMessages(ms []fetchedMessage, s *shard, scriptReply []any) []fetchedMessage {
	eachMessage(s, scriptReply, func(e entryID, deliveries, lost int, batch, agent, payload string) {
		ms = append(ms, f.newFetched(s, e.id, deliveries, lost, batch, agent, payload))
	})
	return ms
}

// eachMessage calls f for each message that a script returned: ID, deliveries,
// losses and fields.
func eachMessage(s *shard, scriptReply []any, f func(e entryID, deliveries, lost int, batch, agent, payload string)) {
	for i := 0; i+3 < len(scriptReply); i += 4 {
		id, _ := scriptReply[i].(string)
		n, _ := scriptReply[i+1].(int64)
		lost, _ := scriptReply[i+2].(int64)
		fields, _ := scriptReply[i+3].([]any)
		v := make(map[string]string, 3)
		for j := 0; j+1 < len(fields); j += 2 {
			name, _ := fields[j].(string)
			v[name], _ = fields[j+1].(string)
		}
		f(entryID{s.n, id}, int(n), int(lost), v["b"], v["a"], v["d"])
	}
}
