package celeryqueue

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/queue/redisstats"
	"github.com/picket-edr/picket/internal/redisurl"
)

// A Pool is who works off the queue in this process.
type Pool interface {
	Concurrency() int
	Resize(n int)
}

// A WorkerInfo is what Celery's tools are to see and control of this process.
type WorkerInfo struct {
	Pool     Pool
	Shutdown func() // ends the work of this process, for good
	Version  string // of picket
}

// The rhythm of a node: heartbeats as Celery sends them, and events of tasks
// in parts.
const (
	heartbeatEvery = 2 * time.Second
	nameExpires    = 10 * time.Second
	eventsEvery    = 300 * time.Millisecond
	eventsChunk    = 100
)

// A node is this process as Celery's tools see it.
type node struct {
	WorkerInfo
	q             *Queue
	name          string
	started       time.Time
	clock         celery.Clock
	eventsEnabled atomic.Bool // events of tasks are on
	processed     atomic.Int64

	mu     sync.Mutex
	total  map[string]int
	soft   time.Duration
	hard   time.Duration
	events []celery.Event
}

// RunNode makes this process a node among Celery's, until ctx ends: it has
// heartbeats, tells what becomes of tasks, and carries out remote control.
// It is called once, before the queue is received from.
func (q *Queue) RunNode(ctx context.Context, what WorkerInfo) (run func()) {
	n := &node{WorkerInfo: what, q: q, started: time.Now(), total: make(map[string]int)}
	q.node.Store(n)
	return func() { n.run(ctx) }
}

func (n *node) run(ctx context.Context) {
	for n.name == "" {
		name, err := n.claimName(ctx)
		if err != nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
			}
			continue
		}
		n.mu.Lock()
		n.name = name
		n.mu.Unlock()
	}
	n.q.log.Info("Celery node", "node", n.name, "queues", n.q.consumed())
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() { n.listen(ctx) })
	n.publishWorkerEvent(ctx, "worker-online")
	beat, tell := time.NewTicker(heartbeatEvery), time.NewTicker(eventsEvery)
	defer beat.Stop()
	defer tell.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
			defer cancel()
			n.flush(last)
			n.publishWorkerEvent(last, "worker-offline")
			n.q.client.Del(last, n.nameKey(n.name))
			return
		case <-beat.C:
			n.publishWorkerEvent(ctx, "worker-heartbeat")
			n.checkTimeLimits()
			n.q.client.Set(ctx, n.nameKey(n.name), n.q.tagPrefix, nameExpires)
		case <-tell.C:
			n.flush(ctx)
		}
	}
}

// claimName returns a name that no other node has: the host's, with a number
// where there are several.
func (n *node) claimName(ctx context.Context) (string, error) {
	host, _ := os.Hostname()
	base, at := "picket", host
	if n.q.set.node != "" {
		base, at, _ = strings.Cut(n.q.set.node, "@")
	}
	for i := 1; ; i++ {
		name := base + "@" + at
		if i > 1 {
			name = base + strconv.Itoa(i) + "@" + at
		}
		switch mine, err := n.tryClaimName(ctx, name); {
		case err != nil:
			return "", err
		case mine:
			return name, nil
		}
	}
}

// tryClaimName takes a name that is free, or whose node shows no sign of life for
// longer than a heartbeat: one that was killed leaves its name behind.
func (n *node) tryClaimName(ctx context.Context, name string) (mine bool, err error) {
	key := n.nameKey(name)
	free, err := n.q.client.SetNX(ctx, key, n.q.tagPrefix, nameExpires).Result()
	if err != nil || free {
		return free, redisstats.WrapError(err)
	}
	left, err := n.q.client.PTTL(ctx, key).Result()
	if err != nil {
		return false, redisstats.WrapError(err)
	}
	holder, err := n.q.client.Get(ctx, key).Result()
	if err != nil {
		return false, redisstats.WrapError(err)
	}
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-time.After(heartbeatEvery + heartbeatEvery/4):
	}
	cmd, err := n.q.run(ctx, nameScript, []string{key}, holder, (left - heartbeatEvery).Milliseconds(), n.q.tagPrefix, nameExpires.Milliseconds())
	if err != nil {
		return false, err
	}
	return cmd.Bool()
}

func (n *node) nameKey(name string) string { return n.q.set.key("node:" + name) }

// hostname is the node's name, "" before it has one.
func (n *node) hostname() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.name
}

// listen carries out what it is told, until ctx ends.
func (n *node) listen(ctx context.Context) {
	q := n.q
	control, beats := q.set.keys.ControlChannel(), q.set.keys.EventChannel("worker-heartbeat")
	channels := []string{beats}
	if q.set.control {
		channels = append(channels, control)
		binding, bound := q.set.keys.BindingKey("celery.pidbox"), q.set.keys.BindingMember("", "", n.name+".celery.pidbox")
		q.client.SAdd(ctx, binding, bound)
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
			defer cancel()
			q.client.SRem(ctx, binding, bound)
		}()
	}
	sub := q.client.Subscribe(ctx, channels...)
	defer sub.Close()
	messages := sub.Channel() // it connects anew by itself
	for {
		select {
		case <-ctx.Done():
			return
		case m, ok := <-messages:
			if !ok {
				return
			}
			if m.Channel == control {
				n.handleControl(ctx, []byte(m.Payload))
			} else if events, err := celery.DecodeEvents([]byte(m.Payload)); err == nil {
				n.handleHeartbeat(events)
			}
		}
	}
}

// software is what picket's nodes call themselves.
const software = "picket"

// handleHeartbeat notes workers of another kind, who may know tasks that picket does not.
func (n *node) handleHeartbeat(events []celery.Event) {
	for i := range events {
		n.clock.Adjust(events[i].Clock)
		if events[i].Software != software {
			n.q.unregistered.sawOtherWorker()
		}
	}
}

// event makes an event of the node's, with what all have.
func (n *node) event(kind string) celery.Event {
	now := time.Now()
	_, offset := now.Zone()
	return celery.Event{Type: kind, Hostname: n.hostname(), UTCOffset: -offset / 3600, PID: os.Getpid(), Clock: n.clock.Tick(), Time: now}
}

// publishWorkerEvent publishes an event about the node. One that is lost is of no harm.
func (n *node) publishWorkerEvent(ctx context.Context, kind string) {
	e := n.event(kind)
	e.Freq, e.Active, e.Processed = heartbeatEvery, n.q.inflightCount(), int(n.processed.Load())
	e.LoadAvg, e.Software, e.Version, e.System = loadAverage(), software, n.Version, runtime.GOOS
	ctx, cancel := context.WithTimeout(ctx, redisurl.CommandTimeout)
	defer cancel()
	n.q.client.Publish(ctx, n.q.set.keys.EventChannel(kind), celery.AppendEvent(nil, &e))
}

// emit keeps events of tasks until the next flush.
func (n *node) emit(events ...celery.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = append(n.events, events...)
}

// flush publishes the events that are kept.
func (n *node) flush(ctx context.Context) {
	n.mu.Lock()
	events := n.events
	n.events = nil
	n.mu.Unlock()
	if len(events) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, redisurl.CommandTimeout)
	defer cancel()
	pipe := n.q.client.Pipeline()
	for part := range slices.Chunk(events, eventsChunk) {
		pipe.Publish(ctx, n.q.set.keys.EventChannel("task-multi"), celery.AppendEvents(nil, part))
	}
	pipe.Exec(ctx) // nobody keeps events: those of an outage are gone
}

// loadAverage is the host's, where the system tells it in a file.
func loadAverage() (avg [3]float64) {
	text, err := os.ReadFile("/proc/loadavg")
	if err == nil {
		fmt.Sscan(string(text), &avg[0], &avg[1], &avg[2])
	}
	return avg
}
