package celeryqueue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/redisurl"
)

// replyExpires is how long an answer waits for who asked. Celery keeps it for
// ever.
const replyExpires = time.Minute

// obey carries out a command, and answers it where that is asked for.
func (n *node) obey(ctx context.Context, message []byte) {
	c, err := celery.DecodeControl(message)
	if err != nil {
		n.q.log.Warn("remote control not understood", "error", err)
		return
	}
	n.clock.Saw(c.Clock)
	if !c.For(n.name) || !c.Expires.IsZero() && time.Now().After(c.Expires) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, redisurl.CommandTimeout)
	defer cancel()
	var answer any
	command, known := commands[c.Method]
	if known {
		answer, err = command(n, ctx, c)
	} else {
		err = fmt.Errorf("KeyError('%s')", c.Method)
	}
	if err != nil {
		answer = celery.ErrorReply{Error: err.Error()}
	}
	if tells[c.Method] {
		n.q.log.Info("remote control", "command", c.Method, "arguments", string(c.Arguments), "error", err)
	}
	if !c.WantsReply() || answer == nil {
		return
	}
	value, err := json.Marshal(answer)
	if err != nil {
		value = json.RawMessage(`{"error": "the answer cannot be told"}`)
	}
	key := n.q.set.keys.Reply(c.ReplyTo.RoutingKey)
	pipe := n.q.client.Pipeline()
	pipe.LPush(ctx, key, celery.AppendReply(nil, n.name, c, value, n.clock.Tick()))
	pipe.Expire(ctx, key, replyExpires)
	if _, err := pipe.Exec(ctx); err != nil {
		n.q.log.Warn("remote control not answered", "command", c.Method, "error", err)
	}
}

// tells are the commands that change something: who gave them is not known,
// that they were given is logged.
var tells = map[string]bool{
	"revoke": true, "terminate": true, "rate_limit": true, "time_limit": true, "pool_grow": true, "pool_shrink": true,
	"add_consumer": true, "cancel_consumer": true, "shutdown": true,
}

// commands are what a node can be told and asked.
//
// Source: celery/worker/control.py.
var commands = map[string]func(*node, context.Context, *celery.Control) (any, error){
	"ping":  func(*node, context.Context, *celery.Control) (any, error) { return celery.Pong(), nil },
	"hello": (*node).hello,
	"stats": (*node).stats,
	"clock": func(n *node, _ context.Context, _ *celery.Control) (any, error) {
		return map[string]int64{"clock": n.clock.Now()}, nil
	},
	"conf":            (*node).conf,
	"report":          (*node).report,
	"active":          (*node).active,
	"reserved":        func(*node, context.Context, *celery.Control) (any, error) { return []celery.TaskInfo{}, nil },
	"scheduled":       (*node).scheduled,
	"registered":      (*node).registered,
	"active_queues":   (*node).activeQueues,
	"revoked":         func(n *node, ctx context.Context, _ *celery.Control) (any, error) { return n.q.revoked(ctx) },
	"query_task":      (*node).queryTask,
	"heartbeat":       (*node).heartbeat,
	"enable_events":   (*node).enableEvents,
	"disable_events":  (*node).disableEvents,
	"revoke":          (*node).revoke,
	"terminate":       (*node).revoke,
	"rate_limit":      (*node).rateLimit,
	"time_limit":      (*node).timeLimit,
	"pool_grow":       (*node).poolGrow,
	"pool_shrink":     (*node).poolShrink,
	"pool_restart":    func(*node, context.Context, *celery.Control) (any, error) { return nil, errNoRestarts },
	"autoscale":       func(*node, context.Context, *celery.Control) (any, error) { return nil, errNoAutoscale },
	"add_consumer":    (*node).addConsumer,
	"cancel_consumer": (*node).cancelConsumer,
	"shutdown":        (*node).shutdown,
}

var (
	//lint:ignore ST1005 Celery's words
	errNoRestarts = errors.New("Pool restarts not enabled")
	//lint:ignore ST1005 Celery's words
	errNoAutoscale = errors.New("Autoscale not enabled")
)

// argument reads an argument into to, and reports whether it is there.
func argument(c *celery.Control, name string, to any) (bool, error) {
	raw, ok := c.Argument(name)
	if !ok || string(raw) == "null" {
		return false, nil
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return false, fmt.Errorf("%s: argument %s is not understood", c.Method, name)
	}
	return true, nil
}

func ok(format string, args ...any) (any, error) {
	return celery.OK{OK: fmt.Sprintf(format, args...)}, nil
}

func (n *node) hello(_ context.Context, c *celery.Control) (any, error) {
	var from string
	if _, err := argument(c, "from_node", &from); err != nil || from == n.name {
		return nil, err
	}
	return celery.Hello{Revoked: map[string]float64{}, Clock: n.clock.Now()}, nil
}

func (n *node) stats(context.Context, *celery.Control) (any, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := celery.Stats{
		Total: map[string]int{}, PID: os.Getpid(), Clock: strconv.FormatInt(n.clock.Now(), 10), Uptime: int(time.Since(n.started).Seconds()),
		Pool:          celery.PoolStats{Implementation: software, MaxConcurrency: n.Crew.Concurrency(), Processes: []int{os.Getpid()}},
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
		"task_acks_late": true, "task_reject_on_worker_lost": true, "worker_concurrency": n.Crew.Concurrency(),
		"worker_prefetch_multiplier": 1, "worker_send_task_events": n.telling.Load(),
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
	n.q.eachHeld(func(t *task) { all = append(all, n.info(t)) })
	return all, nil
}

func (n *node) info(t *task) celery.TaskInfo {
	i := t.Info(n.name, t.started, os.Getpid())
	i.Args, i.Kwargs = plain(t.Args), plain(t.Kwargs)
	return i
}

// plain is JSON of Python's as others can read it.
func plain(src json.RawMessage) json.RawMessage {
	out, err := celery.Plain(nil, src)
	if err != nil {
		return json.RawMessage("null")
	}
	return out
}

func (n *node) scheduled(ctx context.Context, _ *celery.Control) (any, error) {
	all := []celery.Scheduled{}
	err := n.q.eachParked(ctx, func(p parked) {
		i := p.Info(n.name, time.Time{}, 0)
		i.Args, i.Kwargs = plain(p.Args), plain(p.Kwargs)
		all = append(all, celery.Scheduled{ETA: p.due.UTC().Format("2006-01-02T15:04:05.000000+00:00"), Priority: p.Priority, Request: i})
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
	n.q.eachHeld(func(t *task) {
		if slices.Contains(ids, t.ID) {
			found[t.ID] = celery.QueryTask{State: "active", Info: n.info(t)}
		}
	})
	err = n.q.eachParked(ctx, func(p parked) {
		if slices.Contains(ids, p.ID) {
			i := p.Info(n.name, time.Time{}, 0)
			i.Args, i.Kwargs = plain(p.Args), plain(p.Kwargs)
			found[p.ID] = celery.QueryTask{State: "reserved", Info: i}
		}
	})
	return found, err
}

// stringsOf reads an argument that is a string or a list of them.
func stringsOf(c *celery.Control, name string) ([]string, error) {
	raw, _ := c.Argument(name)
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}, nil
	}
	var all []string
	_, err := argument(c, name, &all)
	return all, err
}

// eachHeld calls f with the tasks that are held.
func (q *Queue) eachHeld(f func(*task)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, h := range q.held {
		for _, t := range h.tasks {
			f(t)
		}
	}
}

func (n *node) heartbeat(ctx context.Context, _ *celery.Control) (any, error) {
	n.announce(ctx, "worker-heartbeat")
	return nil, nil
}

func (n *node) enableEvents(ctx context.Context, _ *celery.Control) (any, error) {
	if n.telling.Swap(true) {
		return ok("task events already enabled")
	}
	n.announce(ctx, "worker-online")
	return ok("task events enabled")
}

func (n *node) disableEvents(context.Context, *celery.Control) (any, error) {
	if !n.telling.Swap(false) {
		return ok("task events already disabled")
	}
	return ok("task events disabled")
}

// revoke keeps tasks from being run. One that is being run is not stopped: it
// takes milliseconds, and its event was accepted.
func (n *node) revoke(ctx context.Context, c *celery.Control) (any, error) {
	ids, err := stringsOf(c, "task_id")
	if err != nil {
		return nil, err
	}
	if err := n.q.revoke(ctx, ids); err != nil {
		return nil, err
	}
	return ok("tasks %v flagged as revoked", ids)
}

func (n *node) rateLimit(_ context.Context, c *celery.Control) (any, error) {
	var name string
	var limit any
	_, err := argument(c, "task_name", &name)
	if _, err2 := argument(c, "rate_limit", &limit); err != nil || err2 != nil {
		return nil, errors.Join(err, err2)
	}
	if !slices.Contains(n.q.set.tasks, name) {
		return nil, errors.New("unknown task")
	}
	text := "0"
	if limit != nil {
		text = fmt.Sprint(limit)
	}
	if err := n.q.limit.set(text); err != nil {
		return nil, err
	}
	if text == "0" {
		return ok("rate limit disabled successfully")
	}
	return ok("new rate limit set successfully")
}

func (n *node) timeLimit(_ context.Context, c *celery.Control) (any, error) {
	var name string
	var soft, hard float64
	_, err := argument(c, "task_name", &name)
	_, err2 := argument(c, "soft", &soft)
	_, err3 := argument(c, "hard", &hard)
	if err := errors.Join(err, err2, err3); err != nil {
		return nil, err
	}
	if !slices.Contains(n.q.set.tasks, name) {
		return nil, errors.New("unknown task")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.soft, n.hard = time.Duration(soft*float64(time.Second)), time.Duration(hard*float64(time.Second))
	return ok("time limits set successfully")
}

func (n *node) poolGrow(_ context.Context, c *celery.Control) (any, error) {
	return n.resize(c, 1, "pool will grow")
}

func (n *node) poolShrink(_ context.Context, c *celery.Control) (any, error) {
	return n.resize(c, -1, "pool will shrink")
}

// maxCrew bounds what remote control may make of a crew.
const maxCrew = 256

func (n *node) resize(c *celery.Control, sign int, done string) (any, error) {
	by := 1
	if _, err := argument(c, "n", &by); err != nil {
		return nil, err
	}
	n.Crew.Resize(min(max(n.Crew.Concurrency()+sign*by, 1), maxCrew))
	return ok("%s", done)
}

func (n *node) addConsumer(_ context.Context, c *celery.Control) (any, error) {
	var name string
	if there, err := argument(c, "queue", &name); err != nil || !there {
		return nil, errors.Join(err, errors.New("add_consumer: no queue is named"))
	}
	if !n.q.consume(name, true) {
		return ok("already consuming from %s", name)
	}
	return ok("add consumer %s", name)
}

func (n *node) cancelConsumer(_ context.Context, c *celery.Control) (any, error) {
	var name string
	if there, err := argument(c, "queue", &name); err != nil || !there {
		return nil, errors.Join(err, errors.New("cancel_consumer: no queue is named"))
	}
	n.q.consume(name, false)
	return ok("no longer consuming from %s", name)
}

// consume begins or ends to consume a queue, and reports whether that changes
// anything.
func (q *Queue) consume(name string, want bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if slices.Contains(q.ours, name) == want {
		return false
	}
	if want {
		q.ours = append(slices.Clone(q.ours), name)
	} else {
		q.ours = slices.DeleteFunc(slices.Clone(q.ours), func(o string) bool { return o == name })
	}
	return true
}

func (n *node) shutdown(context.Context, *celery.Control) (any, error) {
	n.Shutdown()
	return nil, nil
}
