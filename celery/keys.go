package celery

import (
	"strconv"
	"strings"
)

// Keys returns the names of Celery's and kombu's keys in Redis. The zero Keys are those
// of an app without transport options, on database 0.
//
// Source: kombu/transport/redis.py Channel; celery/backends/base.py KeyValueStoreBackend.
type Keys struct {
	// Prefix is broker_transport_options["global_keyprefix"]. kombu prepends it to
	// keys and to pub/sub channels.
	Prefix string
	// ResultPrefix is result_backend_transport_options["global_keyprefix"], for
	// results only. Celery appends _ unless it ends in one of :_-.
	ResultPrefix string
	// DB is the number of the broker's database. It is part of channel names,
	// because pub/sub ignores databases.
	DB int
}

// kombu's PRIORITY_STEPS are 0, 3, 6 and 9. sep is between a queue and its step, and
// between the parts of a binding.
const (
	maxPriority  = 9
	priorityStep = 3
	sep          = "\x06\x16"
)

// List returns the list that a task of a priority is pushed to with LPUSH, and consumed
// from with RPOP: 0, the first to be served, to 9. Other priorities count as the
// nearest of these.
func (k Keys) List(queue string, priority int) string {
	step := min(max(priority, 0), maxPriority) / priorityStep * priorityStep
	if step == 0 {
		return k.Prefix + queue
	}
	return k.Prefix + queue + sep + strconv.Itoa(step)
}

// Lists returns all lists of a queue in the order in which they are consumed.
func (k Keys) Lists(queue string) []string {
	var lists []string
	for step := 0; step <= maxPriority; step += priorityStep {
		lists = append(lists, k.List(queue, step))
	}
	return lists
}

// Unacked returns the hash of delivery tags to `[envelope, exchange, routing key]`.
func (k Keys) Unacked() string { return k.Prefix + "unacked" }

// UnackedIndex returns the sorted set of delivery tags by their delivery time in Unix
// seconds.
func (k Keys) UnackedIndex() string { return k.Prefix + "unacked_index" }

// BindingKey returns the set of an exchange's bindings, see [BindingMember].
func (k Keys) BindingKey(exchange string) string { return k.Prefix + "_kombu.binding." + exchange }

// BindingMember returns the member of [Keys.BindingKey] for a queue of a direct or
// fanout exchange.
func BindingMember(routingKey, queue string) string { return routingKey + sep + sep + queue }

// Result returns the key of a task's result, which is also the channel on which it is
// published to waiting clients.
func (k Keys) Result(taskID string) string {
	prefix := k.ResultPrefix
	if prefix != "" && !strings.ContainsRune(":_-.", rune(prefix[len(prefix)-1])) {
		prefix += "_"
	}
	return prefix + "celery-task-meta-" + taskID
}

// The default event_exchange and control_exchange.
const (
	eventExchange   = "celeryev"
	controlExchange = "celery.pidbox"
	replyExchange   = "reply.celery.pidbox"
)

// EventChannel returns the channel of an event type: "/0.celeryev/worker.heartbeat" for
// "worker-heartbeat". "task-multi" is the channel of arrays of task events, and "*"
// gives the pattern (PSUBSCRIBE) of all.
func (k Keys) EventChannel(eventType string) string {
	return k.fanoutChannel(eventExchange) + "/" + eventRoutingKey(eventType)
}

// ControlChannel returns the channel of remote control commands.
func (k Keys) ControlChannel() string { return k.fanoutChannel(controlExchange) }

func (k Keys) fanoutChannel(exchange string) string {
	return k.Prefix + "/" + strconv.Itoa(k.DB) + "." + exchange
}

// Reply returns the list of replies to a command, by the routing key of its reply_to.
// kombu never expires it; set an expiry of some seconds.
func (k Keys) Reply(replyRoutingKey string) string {
	return k.Prefix + replyRoutingKey + "." + replyExchange
}
