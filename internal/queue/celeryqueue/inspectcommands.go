package celeryqueue

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/picket-edr/picket/celery"
)

// hello answers a worker that starts, and asks all others for their clocks.
func (n *node) hello(_ context.Context, c *celery.Control) (any, error) {
	var from string
	if _, err := argument(c, "from_node", &from); err != nil || from == n.name {
		return nil, err
	}
	return celery.HelloReply{Revoked: map[string]float64{}, Clock: n.clock.Now()}, nil
}

func (n *node) stats(context.Context, *celery.Control) (any, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := celery.Stats{
		Total: map[string]int{}, PID: os.Getpid(), Clock: strconv.FormatInt(n.clock.Now(), 10), Uptime: int(time.Since(n.started).Seconds()),
		Pool:          celery.PoolStats{Implementation: software, MaxConcurrency: n.Pool.Concurrency(), Processes: []int{os.Getpid()}},
		PrefetchCount: n.q.opt.Group, Rusage: usage(),
	}
	for name, count := range n.total {
		s.Total[name] = count
	}
	o := n.q.set.broker.Options
	host, port, _ := net.SplitHostPort(o.Addrs[0])
	s.Broker = celery.BrokerStats{Hostname: host, Transport: "redis", VirtualHost: strconv.Itoa(o.DB), SSL: o.TLSConfig != nil,
		ConnectTimeout: o.DialTimeout.Seconds(), FailoverStrategy: "round-robin", TransportOptions: map[string]any{}, Alternates: []string{}}
	s.Broker.Port, _ = strconv.Atoi(port)
	return s, nil
}

// conf tells the settings that have a name in Celery.
func (n *node) conf(context.Context, *celery.Control) (any, error) {
	s := n.q.set
	results := "disabled"
	if s.results != nil {
		results = s.results.String()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return map[string]any{
		"broker_url": s.broker.String(), "result_backend": results, "result_expires": s.expires.Seconds(),
		"broker_transport_options": map[string]any{"visibility_timeout": s.visible.Seconds(), "global_keyprefix": s.keys.Prefix},
		"task_default_queue":       s.publish, "task_serializer": "json", "result_serializer": "json", "accept_content": []string{"json"},
		"task_acks_late": true, "task_reject_on_worker_lost": true, "worker_concurrency": n.Pool.Concurrency(),
		"worker_prefetch_multiplier": 1, "worker_send_task_events": n.eventsEnabled.Load(),
		"task_time_limit": seconds(n.hard), "task_soft_time_limit": seconds(n.soft),
		"include": s.tasks, "timezone": "UTC", "enable_utc": true,
	}, nil
}

// seconds is a duration as JSON, null for none.
func seconds(d time.Duration) any {
	if d == 0 {
		return nil
	}
	return d.Seconds()
}

func (n *node) report(context.Context, *celery.Control) (any, error) {
	return ok("software -> picket:%s\nbroker -> %s\nqueues -> %v\ntasks -> %v", n.Version, n.q.set.broker, n.q.consumed(), n.q.set.tasks)
}

// active tells the tasks that are held: all of them are being worked on.
func (n *node) active(context.Context, *celery.Control) (any, error) {
	all := []celery.TaskInfo{}
	n.q.eachInflight(func(t *task) { all = append(all, n.info(t.Task, t.started, os.Getpid())) })
	return all, nil
}

// info is what is told of a task that began at a time in a process, or that has
// not begun.
func (n *node) info(t *celery.Task, started time.Time, pid int) celery.TaskInfo {
	i := t.Info(n.name, started, pid)
	i.Args, i.Kwargs = plain(t.Args), plain(t.Kwargs)
	return i
}

// plain is JSON of Python's as others can read it.
func plain(src json.RawMessage) json.RawMessage {
	out, err := celery.NormalizeJSON(nil, src)
	if err != nil {
		return json.RawMessage("null")
	}
	return out
}

func (n *node) scheduled(ctx context.Context, _ *celery.Control) (any, error) {
	all := []celery.Scheduled{}
	err := n.q.eachScheduled(ctx, func(p scheduledTask) {
		all = append(all, celery.Scheduled{ETA: p.due.UTC().Format("2006-01-02T15:04:05.000000+00:00"), Priority: p.Priority, Request: n.info(p.Task, time.Time{}, 0)})
	})
	return all, err
}

func (n *node) registered(context.Context, *celery.Control) (any, error) { return n.q.set.tasks, nil }

func (n *node) activeQueues(context.Context, *celery.Control) (any, error) {
	all := []celery.QueueInfo{}
	for _, name := range n.q.consumed() {
		all = append(all, celery.NewQueueInfo(name))
	}
	return all, nil
}

func (n *node) queryTask(ctx context.Context, c *celery.Control) (any, error) {
	ids, err := stringsOf(c, "ids")
	if err != nil {
		return nil, err
	}
	found := make(map[string]celery.QueryTask)
	n.q.eachInflight(func(t *task) {
		if slices.Contains(ids, t.ID) {
			found[t.ID] = celery.QueryTask{State: "active", Info: n.info(t.Task, t.started, os.Getpid())}
		}
	})
	err = n.q.eachScheduled(ctx, func(p scheduledTask) {
		if slices.Contains(ids, p.ID) {
			found[p.ID] = celery.QueryTask{State: "reserved", Info: n.info(p.Task, time.Time{}, 0)}
		}
	})
	return found, err
}

// eachInflight calls f with the tasks that are held.
func (q *Queue) eachInflight(f func(*task)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, h := range q.inflight {
		for _, t := range h.tasks {
			f(t)
		}
	}
}
