package celeryworker

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/queue/celeryqueue"
)

// hello replies to a starting worker, which asks all others for their clocks.
func (n *Node) hello(_ context.Context, c *celery.Control) (any, error) {
	var from string
	if _, err := argument(c, "from_node", &from); err != nil || from == n.name {
		return nil, err
	}
	return celery.HelloReply{Revoked: map[string]float64{}, Clock: n.clock.Now()}, nil
}

func (n *Node) stats(context.Context, *celery.Control) (any, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := celery.Stats{
		Total: map[string]int{}, PID: os.Getpid(), Clock: strconv.FormatInt(n.clock.Now(), 10), Uptime: int(time.Since(n.started).Seconds()),
		Pool:          celery.PoolStats{Implementation: celeryqueue.Software, MaxConcurrency: n.opt.Pool.Concurrency(), Processes: []int{os.Getpid()}},
		PrefetchCount: n.broker.GroupSize, Rusage: usage(),
	}
	for name, count := range n.total {
		s.Total[name] = count
	}
	o := n.broker.Config.Options
	host, port, _ := net.SplitHostPort(o.Addrs[0])
	s.Broker = celery.BrokerStats{Hostname: host, Transport: "redis", VirtualHost: strconv.Itoa(o.DB), SSL: o.TLSConfig != nil,
		ConnectTimeout: o.DialTimeout.Seconds(), FailoverStrategy: "round-robin", TransportOptions: map[string]any{}, Alternates: []string{}}
	s.Broker.Port, _ = strconv.Atoi(port)
	return s, nil
}

// conf returns the settings that have a name in Celery.
func (n *Node) conf(context.Context, *celery.Control) (any, error) {
	s := n.broker
	results := "disabled"
	if s.Results != nil {
		results = s.Results.String()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return map[string]any{
		"broker_url": s.Config.String(), "result_backend": results, "result_expires": s.ResultExpires.Seconds(),
		"broker_transport_options": map[string]any{"visibility_timeout": s.VisibilityTimeout.Seconds(), "global_keyprefix": s.Keys.Prefix},
		"task_default_queue":       s.Publish, "task_serializer": "json", "result_serializer": "json", "accept_content": []string{"json"},
		"task_acks_late": true, "task_reject_on_worker_lost": true, "worker_concurrency": n.opt.Pool.Concurrency(),
		"worker_prefetch_multiplier": 1, "worker_send_task_events": n.eventsEnabled.Load(),
		"task_time_limit": seconds(n.hard), "task_soft_time_limit": seconds(n.soft),
		"include": s.Tasks, "timezone": "UTC", "enable_utc": true,
	}, nil
}

// seconds returns a duration in seconds, nil (JSON null) for zero.
func seconds(d time.Duration) any {
	if d == 0 {
		return nil
	}
	return d.Seconds()
}

func (n *Node) report(context.Context, *celery.Control) (any, error) {
	return okReply("software -> picket:%s\nbroker -> %s\nqueues -> %v\ntasks -> %v", n.opt.Version, n.broker.Config, n.q.Queues(), n.broker.Tasks)
}

// active returns the tasks in flight, all of which are running.
func (n *Node) active(context.Context, *celery.Control) (any, error) {
	all := []celery.TaskInfo{}
	n.q.EachInflight(func(t *celeryqueue.Task) { all = append(all, n.info(t.Task, t.Started(), os.Getpid())) })
	return all, nil
}

// info describes a task that started at a time in a process, or has not started.
func (n *Node) info(t *celery.Task, started time.Time, pid int) celery.TaskInfo {
	i := t.Info(n.name, started, pid)
	i.Args, i.Kwargs = plain(t.Args), plain(t.Kwargs)
	return i
}

// plain converts Python's JSON to standard JSON.
func plain(src json.RawMessage) json.RawMessage {
	out, err := celery.NormalizeJSON(nil, src)
	if err != nil {
		return json.RawMessage("null")
	}
	return out
}

func (n *Node) scheduled(ctx context.Context, _ *celery.Control) (any, error) {
	all := []celery.Scheduled{}
	err := n.q.EachScheduled(ctx, func(t *celery.Task, due time.Time) {
		all = append(all, celery.Scheduled{ETA: due.UTC().Format("2006-01-02T15:04:05.000000+00:00"), Priority: t.Priority, Request: n.info(t, time.Time{}, 0)})
	})
	return all, err
}

func (n *Node) registered(context.Context, *celery.Control) (any, error) { return n.broker.Tasks, nil }

func (n *Node) activeQueues(context.Context, *celery.Control) (any, error) {
	all := []celery.QueueInfo{}
	for _, name := range n.q.Queues() {
		all = append(all, celery.NewQueueInfo(name))
	}
	return all, nil
}

func (n *Node) queryTask(ctx context.Context, c *celery.Control) (any, error) {
	ids, err := stringsOf(c, "ids")
	if err != nil {
		return nil, err
	}
	found := make(map[string]celery.QueryTask)
	n.q.EachInflight(func(t *celeryqueue.Task) {
		if slices.Contains(ids, t.ID) {
			found[t.ID] = celery.QueryTask{State: "active", Info: n.info(t.Task, t.Started(), os.Getpid())}
		}
	})
	err = n.q.EachScheduled(ctx, func(t *celery.Task, due time.Time) {
		if slices.Contains(ids, t.ID) {
			found[t.ID] = celery.QueryTask{State: "reserved", Info: n.info(t, time.Time{}, 0)}
		}
	})
	return found, err
}
