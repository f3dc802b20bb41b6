package celeryworker

import (
	"context"
	"encoding/json"
	"maps"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/queue/celeryqueue"
)

// The replies of this file are those of celery/worker/control.py. Flower fails if a
// member is missing.
type jsonObject = map[string]any

// handleHello replies to a starting worker, which asks all others for their clocks.
func (n *Node) handleHello(_ context.Context, c *celery.Control) (any, error) {
	var args struct {
		From string `json:"from_node"`
	}
	if err := decodeArguments(c, &args); err != nil || args.From == n.name {
		return nil, err
	}
	return jsonObject{"revoked": jsonObject{}, "clock": n.clock.Now()}, nil
}

func (n *Node) handleStats(context.Context, *celery.Control) (any, error) {
	n.mu.Lock()
	total := maps.Clone(n.total)
	n.mu.Unlock()
	o := n.set.Broker.Options
	host, portText, _ := net.SplitHostPort(o.Addrs[0])
	port, _ := strconv.Atoi(portText)
	return jsonObject{
		"total": total, "pid": os.Getpid(), "clock": strconv.FormatInt(n.clock.Now(), 10), "uptime": int(time.Since(n.started).Seconds()),
		"pool": jsonObject{"implementation": softwareName, "max-concurrency": n.opt.Pool.Concurrency(), "processes": []int{os.Getpid()}},
		"broker": jsonObject{
			"hostname": host, "port": port, "transport": "redis", "virtual_host": strconv.Itoa(o.DB), "ssl": o.TLSConfig != nil,
			"connect_timeout": o.DialTimeout.Seconds(), "failover_strategy": "round-robin", "transport_options": jsonObject{}, "alternates": []string{},
			"userid": nil, "insist": false, "login_method": nil, "uri_prefix": nil, "heartbeat": 0,
		},
		"prefetch_count": n.q.MaxDeliveryTasks(), "rusage": jsonObject{},
	}, nil
}

// handleConf returns the settings that have a name in Celery.
func (n *Node) handleConf(context.Context, *celery.Control) (any, error) {
	s := n.set
	results := "disabled"
	if s.Results != nil {
		results = s.Results.String()
	}
	return jsonObject{
		"broker_url": s.Broker.String(), "result_backend": results, "result_expires": s.ResultExpires.Seconds(),
		"broker_transport_options": jsonObject{"visibility_timeout": s.VisibilityTimeout.Seconds(), "global_keyprefix": s.Keys.Prefix},
		"task_default_queue":       s.Publish, "task_serializer": "json", "result_serializer": "json", "accept_content": []string{"json"},
		"task_acks_late": true, "task_reject_on_worker_lost": true, "worker_concurrency": n.opt.Pool.Concurrency(),
		"worker_prefetch_multiplier": 1, "worker_send_task_events": n.eventsEnabled.Load(),
		"task_time_limit": nil, "task_soft_time_limit": nil,
		"include": s.Tasks, "timezone": "UTC", "enable_utc": true,
	}, nil
}

// describeTask describes a task that has not started.
//
// Source: celery/worker/request.py Request.info.
func (n *Node) describeTask(t *celeryqueue.UnackedTask) jsonObject {
	return jsonObject{
		"id": t.ID, "name": t.Name, "type": t.Name, "hostname": n.name, "args": normalizeJSONOr(t.Args, "[]"), "kwargs": normalizeJSONOr(t.Kwargs, "{}"),
		"acknowledged": false, "time_start": nil, "worker_pid": nil,
		"delivery_info": jsonObject{"exchange": t.Exchange, "routing_key": t.RoutingKey, "priority": t.Priority, "redelivered": false},
	}
}

// normalizeJSONOr converts Python's JSON to standard JSON, or returns fallback if there
// is none.
func normalizeJSONOr(src json.RawMessage, fallback string) json.RawMessage {
	if out, err := celery.NormalizeJSON(nil, src); err == nil {
		return out
	}
	return json.RawMessage(fallback)
}

// handleActive returns the tasks in flight, all of which run.
func (n *Node) handleActive(context.Context, *celery.Control) (any, error) {
	all := []jsonObject{}
	n.q.EachInflight(func(t *celeryqueue.UnackedTask) {
		info := n.describeTask(t)
		info["time_start"], info["worker_pid"] = float64(t.ClaimedAt().UnixMicro())/1e6, os.Getpid()
		all = append(all, info)
	})
	return all, nil
}

func (n *Node) handleScheduled(ctx context.Context, _ *celery.Control) (any, error) {
	all := []jsonObject{}
	err := n.q.EachScheduled(ctx, func(t *celeryqueue.UnackedTask) {
		all = append(all, jsonObject{"eta": t.ETA.UTC().Format("2006-01-02T15:04:05.000000+00:00"), "priority": t.Priority, "request": n.describeTask(t)})
	})
	return all, err
}

func (n *Node) handleActiveQueues(context.Context, *celery.Control) (any, error) {
	var all []jsonObject
	for _, name := range n.set.ConsumedQueues() {
		all = append(all, jsonObject{
			"name": name, "routing_key": name, "durable": true, "exclusive": false, "auto_delete": false, "no_ack": false, "bindings": []any{},
			"exchange": jsonObject{"name": name, "type": "direct", "durable": true, "passive": false, "auto_delete": false, "no_declare": false,
				"arguments": nil, "delivery_mode": nil},
			"alias": nil, "no_declare": nil, "queue_arguments": nil, "binding_arguments": nil, "consumer_arguments": nil, "expires": nil,
			"message_ttl": nil, "max_length": nil, "max_length_bytes": nil, "max_priority": nil,
		})
	}
	return all, nil
}
