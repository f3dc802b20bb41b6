package celery

import (
	"encoding/json"
	"time"
)

// Replies to commands, for encoding/json. Flower and `celery inspect` read them; Flower
// fails if a field is missing.
//
//	ping            PongReply
//	stats           Stats
//	registered      []string              names of tasks
//	active          []TaskInfo            those that run
//	reserved        []TaskInfo            those that wait in the worker
//	scheduled       []Scheduled           those that have an ETA
//	revoked         []string              IDs
//	query_task      map[string]QueryTask  by ID
//	active_queues   []QueueInfo
//	clock           {"clock": n}
//	hello           HelloReply
//	revoke and so on  OKReply
//	what went wrong   ErrorReply
//
// Source: celery/worker/control.py, celery/worker/request.py Request.info.

// An OKReply is the reply to a command that was carried out.
type OKReply struct {
	OK string `json:"ok"`
}

// PongReply returns the reply to ping: {"ok": "pong"}.
func PongReply() OKReply { return OKReply{OK: "pong"} }

// An ErrorReply is the reply to a command that failed.
type ErrorReply struct {
	Error string `json:"error"`
}

// A HelloReply is the reply to hello, with which a starting worker asks the others for
// their clocks and revoked tasks.
type HelloReply struct {
	Revoked map[string]float64 `json:"revoked"` // by ID: when (monotonic seconds)
	Clock   int64              `json:"clock"`
}

// A TaskInfo is a task in a worker.
type TaskInfo struct {
	ID           string          `json:"id"`
	Name         string          `json:"name"`
	Args         json.RawMessage `json:"args"`   // must be standard JSON, see NormalizeJSON
	Kwargs       json.RawMessage `json:"kwargs"` // likewise
	Type         string          `json:"type"`   // equal to Name
	Hostname     string          `json:"hostname"`
	TimeStart    *float64        `json:"time_start"` // Unix seconds; nil before it starts
	Acknowledged bool            `json:"acknowledged"`
	DeliveryInfo DeliveryInfo    `json:"delivery_info"`
	WorkerPID    *int            `json:"worker_pid"` // nil before it starts
}

// A DeliveryInfo is how a task was delivered.
type DeliveryInfo struct {
	Exchange    string `json:"exchange"`
	RoutingKey  string `json:"routing_key"`
	Priority    int    `json:"priority"`
	Redelivered bool   `json:"redelivered"`
}

// Info returns what active and reserved report about t in a node: started at a time in
// process pid, or not started if the time is zero.
func (t *Task) Info(node string, started time.Time, pid int) TaskInfo {
	info := TaskInfo{
		ID: t.ID, Name: t.Name, Type: t.Name, Hostname: node, Args: plainOr(t.Args, "[]"), Kwargs: plainOr(t.Kwargs, "{}"),
		DeliveryInfo: DeliveryInfo{t.Exchange, t.RoutingKey, t.Priority, t.Redelivered},
	}
	if !started.IsZero() {
		seconds := float64(started.UnixMicro()) / 1e6
		info.TimeStart, info.WorkerPID = &seconds, &pid
	}
	return info
}

func plainOr(value []byte, otherwise string) json.RawMessage {
	if plain, err := NormalizeJSON(nil, value); err == nil {
		return plain
	}
	return json.RawMessage(otherwise)
}

// A Scheduled is a task that waits for its ETA.
type Scheduled struct {
	ETA      string   `json:"eta"` // ISO 8601
	Priority int      `json:"priority"`
	Request  TaskInfo `json:"request"`
}

// A QueryTask is the state of a task: "active", "reserved" or "ready".
type QueryTask struct {
	State string
	Info  TaskInfo
}

// MarshalJSON returns [state, info].
func (q QueryTask) MarshalJSON() ([]byte, error) { return json.Marshal([2]any{q.State, q.Info}) }

// A QueueInfo is a queue that a worker consumes. Name, Exchange.Name and RoutingKey are
// the queue's name, unless it is bound to an exchange; the rest is as [NewQueueInfo]
// sets it.
type QueueInfo struct {
	Name              string       `json:"name"`
	Exchange          ExchangeInfo `json:"exchange"`
	RoutingKey        string       `json:"routing_key"`
	QueueArguments    any          `json:"queue_arguments"`
	BindingArguments  any          `json:"binding_arguments"`
	ConsumerArguments any          `json:"consumer_arguments"`
	Durable           bool         `json:"durable"`
	Exclusive         bool         `json:"exclusive"`
	AutoDelete        bool         `json:"auto_delete"`
	NoAck             bool         `json:"no_ack"`
	Alias             *string      `json:"alias"`
	Bindings          []any        `json:"bindings"`
	NoDeclare         *bool        `json:"no_declare"`
	Expires           *float64     `json:"expires"`
	MessageTTL        *float64     `json:"message_ttl"`
	MaxLength         *int         `json:"max_length"`
	MaxLengthBytes    *int         `json:"max_length_bytes"`
	MaxPriority       *int         `json:"max_priority"`
}

// An ExchangeInfo is the exchange of a queue.
type ExchangeInfo struct {
	Name         string `json:"name"`
	Type         string `json:"type"`
	Arguments    any    `json:"arguments"`
	Durable      bool   `json:"durable"`
	Passive      bool   `json:"passive"`
	AutoDelete   bool   `json:"auto_delete"`
	DeliveryMode *int   `json:"delivery_mode"`
	NoDeclare    bool   `json:"no_declare"`
}

// NewQueueInfo returns the description of an ordinary queue.
func NewQueueInfo(queue string) QueueInfo {
	return QueueInfo{
		Name: queue, RoutingKey: queue, Durable: true, Bindings: []any{},
		Exchange: ExchangeInfo{Name: queue, Type: "direct", Durable: true},
	}
}

// Stats is the reply to stats.
type Stats struct {
	Total         map[string]int `json:"total"` // tasks received, by name
	PID           int            `json:"pid"`
	Clock         string         `json:"clock"`  // a number
	Uptime        int            `json:"uptime"` // seconds
	Pool          PoolStats      `json:"pool"`
	Broker        BrokerStats    `json:"broker"`
	PrefetchCount int            `json:"prefetch_count"`
	Rusage        map[string]any `json:"rusage"`
}

// PoolStats describes the pool that runs the tasks.
type PoolStats struct {
	Implementation string `json:"implementation"`
	MaxConcurrency int    `json:"max-concurrency"`
	Processes      []int  `json:"processes"` // their PIDs
}

// BrokerStats describes the broker, as celery.Celery.connection().info() does.
type BrokerStats struct {
	Hostname         string         `json:"hostname"`
	UserID           *string        `json:"userid"`
	VirtualHost      string         `json:"virtual_host"` // the database: "0"
	Port             int            `json:"port"`
	Insist           bool           `json:"insist"`
	SSL              bool           `json:"ssl"`
	Transport        string         `json:"transport"` // "redis"
	ConnectTimeout   float64        `json:"connect_timeout"`
	TransportOptions map[string]any `json:"transport_options"`
	LoginMethod      *string        `json:"login_method"`
	URIPrefix        *string        `json:"uri_prefix"`
	Heartbeat        float64        `json:"heartbeat"`
	FailoverStrategy string         `json:"failover_strategy"`
	Alternates       []string       `json:"alternates"`
}
