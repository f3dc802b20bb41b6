// Package celeryworker is how a picket worker appears to Celery: a node with a name,
// heartbeats, task events and remote control, for celery inspect, celery control and
// Flower. Package celeryqueue runs the tasks and writes their results.
package celeryworker

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/backoff"
	"github.com/picket-edr/picket/internal/queue/celeryqueue"
	"github.com/picket-edr/picket/internal/queue/redisstats"
	"github.com/picket-edr/picket/internal/redisurl"
)

// softwareName is the software name of picket's workers in Celery.
const softwareName = "picket"

// A Pool is the workers of this process.
type Pool interface {
	Concurrency() int
	Resize(n int)
}

// NodeOptions describe a node.
type NodeOptions struct {
	Pool     Pool
	Shutdown func() // ends the work of this process for good
	Version  string // of picket
	Logger   *slog.Logger
}

// Intervals of a node: heartbeats as Celery sends them, and batches of task events.
const (
	heartbeatInterval       = 2 * time.Second
	nameTTL                 = 2 * heartbeatInterval
	eventFlushInterval      = 300 * time.Millisecond
	maxTaskEventsPerPublish = 100
	closeTimeout            = time.Second
)

// A Node is this process as a Celery worker. It is a celeryqueue.Observer.
type Node struct {
	opt       NodeOptions
	log       *slog.Logger
	q         *celeryqueue.Queue
	set       *celeryqueue.Settings
	started   time.Time
	clock     celery.Clock
	processed atomic.Int64

	eventsEnabled atomic.Bool // task events are on

	mu     sync.Mutex
	name   string         // "" until Run has claimed one
	total  map[string]int // tasks received, by name
	events []celery.Event // to be published
}

// New returns the node of a queue. Run makes it visible.
func New(q *celeryqueue.Queue, o NodeOptions) *Node {
	n := &Node{opt: o, log: o.Logger, q: q, set: q.Settings(), started: time.Now(), total: make(map[string]int)}
	q.SetObserver(n)
	return n
}

// Run publishes heartbeats and task events and handles remote control until ctx ends.
func (n *Node) Run(ctx context.Context) {
	for n.hostname() == "" {
		name, err := n.claimName(ctx)
		if err != nil {
			backoff.Sleep(ctx, time.Second)
			if ctx.Err() != nil {
				return
			}
			continue
		}
		n.mu.Lock()
		n.name = name
		n.mu.Unlock()
	}
	n.log.Info("Celery node started", "node", n.name, "queues", n.set.ConsumedQueues())
	var background sync.WaitGroup
	defer background.Wait()
	background.Go(func() { n.listen(ctx) })
	n.publishWorkerEvent(ctx, "worker-online")
	heartbeat, flush := time.NewTicker(heartbeatInterval), time.NewTicker(eventFlushInterval)
	defer heartbeat.Stop()
	defer flush.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
			defer cancel()
			n.flush(last)
			n.publishWorkerEvent(last, "worker-offline")
			n.q.Client().Del(last, n.nameClaimKey(n.name))
			return
		case <-heartbeat.C:
			n.publishWorkerEvent(ctx, "worker-heartbeat")
			n.q.Client().Set(ctx, n.nameClaimKey(n.name), n.q.ConsumerID(), nameTTL)
		case <-flush.C:
			n.flush(ctx)
		}
	}
}

// claimName returns a name that no other node has: the host's, with a number if
// necessary.
func (n *Node) claimName(ctx context.Context) (string, error) {
	host, _ := os.Hostname()
	base, host, _ := strings.Cut(cmp.Or(n.set.NodeName, "picket@"+host), "@")
	name := base + "@" + host
	for i := 2; ; i++ {
		// A killed node leaves its name behind, which a living one would renew.
		for attempt := range 2 {
			if attempt > 0 {
				backoff.Sleep(ctx, nameTTL+eventFlushInterval)
			}
			mine, err := n.q.Client().SetNX(ctx, n.nameClaimKey(name), n.q.ConsumerID(), nameTTL).Result()
			if mine || err != nil {
				return name, redisstats.WrapError(err)
			}
		}
		name = base + strconv.Itoa(i) + "@" + host
	}
}

func (n *Node) nameClaimKey(name string) string { return n.set.OwnKey("node:" + name) }

// hostname returns the node's name, "" before it has one.
func (n *Node) hostname() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.name
}

// listen handles remote control and heartbeats until ctx ends.
func (n *Node) listen(ctx context.Context) {
	control := n.set.Keys.ControlChannel()
	channels := []string{n.set.Keys.EventChannel("worker-heartbeat")}
	if n.set.RemoteControl {
		channels = append(channels, control)
		binding, bound := n.set.Keys.BindingKey("celery.pidbox"), celery.BindingMember("", n.name+".celery.pidbox")
		n.q.Client().SAdd(ctx, binding, bound)
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
			defer cancel()
			n.q.Client().SRem(ctx, binding, bound)
		}()
	}
	sub := n.q.Client().Subscribe(ctx, channels...)
	context.AfterFunc(ctx, func() { sub.Close() })
	for m := range sub.Channel() { // which reconnects by itself
		if m.Channel == control {
			n.handleControl(ctx, []byte(m.Payload))
		} else if h, err := celery.DecodeHeartbeat([]byte(m.Payload)); err == nil {
			n.clock.Adjust(h.Clock)
			if h.Software != softwareName {
				n.q.RecordOtherWorker()
			}
		}
	}
}

// newEvent returns an event with the fields that all events of the node have.
func (n *Node) newEvent(kind string) celery.Event {
	now := time.Now()
	_, offset := now.Zone()
	return celery.Event{Type: kind, Hostname: n.hostname(), UTCOffset: -offset / 3600, PID: os.Getpid(), Clock: n.clock.Tick(), Time: now}
}

// publishWorkerEvent publishes an event about the node. A lost one does no harm.
func (n *Node) publishWorkerEvent(ctx context.Context, kind string) {
	e := n.newEvent(kind)
	n.q.EachInflight(func(*celeryqueue.UnackedTask) { e.Active++ })
	e.Freq, e.Processed = heartbeatInterval, int(n.processed.Load())
	e.LoadAvg, e.Software, e.Version, e.System = loadAverage(), softwareName, n.opt.Version, runtime.GOOS
	ctx, cancel := context.WithTimeout(ctx, redisurl.CommandTimeout)
	defer cancel()
	n.q.Client().Publish(ctx, n.set.Keys.EventChannel(kind), celery.AppendEvent(nil, &e))
}

// bufferEvent buffers a task event until the next flush.
func (n *Node) bufferEvent(e celery.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = append(n.events, e)
}

// flush publishes the buffered events.
func (n *Node) flush(ctx context.Context) {
	n.mu.Lock()
	events := n.events
	n.events = nil
	n.mu.Unlock()
	if len(events) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, redisurl.CommandTimeout)
	defer cancel()
	pipe := n.q.Client().Pipeline()
	for part := range slices.Chunk(events, maxTaskEventsPerPublish) {
		pipe.Publish(ctx, n.set.Keys.EventChannel("task-multi"), celery.AppendEvents(nil, part))
	}
	pipe.Exec(ctx) // events are not retained: those of an outage are lost
}

// loadAverage returns the load average of the host, zero if the system has no
// /proc/loadavg.
func loadAverage() (avg [3]float64) {
	text, err := os.ReadFile("/proc/loadavg")
	if err == nil {
		fmt.Sscan(string(text), &avg[0], &avg[1], &avg[2])
	}
	return avg
}
