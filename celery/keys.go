package celery

import (
	"cmp"
	"slices"
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
	// Sep is "sep", between a queue and its priority; "" means "\x06\x16".
	Sep string
	// Steps are "priority_steps", ascending; nil means 0, 3, 6, 9.
	Steps []int
	// FanoutPrefix is "fanout_prefix", in which {db} stands for DB; "" means
	// "/{db}.".
	FanoutPrefix string
	// DB is the number of the broker's database. It is part of channel names,
	// because pub/sub ignores databases.
	DB int
}

// defaultSteps are kombu's PRIORITY_STEPS.
var defaultSteps = []int{0, 3, 6, 9}

func (k Keys) sep() string {
	if k.Sep == "" {
		return "\x06\x16"
	}
	return k.Sep
}

func (k Keys) steps() []int {
	if k.Steps == nil {
		return defaultSteps
	}
	return k.Steps
}

// List returns the list that a task of a priority is pushed to with LPUSH, and consumed
// from with RPOP: 0, the first to be served, to 9. Other priorities count as the
// nearest of these.
func (k Keys) List(queue string, priority int) string {
	steps := k.steps()
	i, found := slices.BinarySearch(steps, min(max(priority, 0), 9))
	if !found {
		i--
	}
	if i < 0 { // Python's steps[-1]
		i = len(steps) - 1
	}
	if i < 0 {
		return k.Prefix + queue
	}
	return k.list(queue, steps[i])
}

func (k Keys) list(queue string, step int) string {
	if step == 0 {
		return k.Prefix + queue
	}
	return k.Prefix + queue + k.sep() + strconv.Itoa(step)
}

// Lists returns all lists of a queue in the order in which they are consumed.
func (k Keys) Lists(queue string) []string {
	lists := make([]string, 0, len(k.steps()))
	for _, step := range k.steps() {
		lists = append(lists, k.list(queue, step))
	}
	return lists
}

// Unacked returns the hash of delivery tags to `[envelope, exchange, routing key]`.
func (k Keys) Unacked() string { return k.Prefix + "unacked" }

// UnackedIndex returns the sorted set of delivery tags by their delivery time in Unix
// seconds.
func (k Keys) UnackedIndex() string { return k.Prefix + "unacked_index" }

// BindingKey returns the set of an exchange's bindings, see [Keys.BindingMember].
func (k Keys) BindingKey(exchange string) string { return k.Prefix + "_kombu.binding." + exchange }

// BindingMember returns the member of BindingKey for a queue. The pattern is empty
// except for topic exchanges.
func (k Keys) BindingMember(routingKey, pattern, queue string) string {
	return routingKey + k.sep() + pattern + k.sep() + queue
}

// Result returns the key of a task's result, which is also the channel on which it is
// published to waiting clients.
func (k Keys) Result(taskID string) string { return k.result() + "celery-task-meta-" + taskID }

func (k Keys) result() string {
	if k.ResultPrefix == "" || strings.ContainsRune(":_-.", rune(k.ResultPrefix[len(k.ResultPrefix)-1])) {
		return k.ResultPrefix
	}
	return k.ResultPrefix + "_"
}

// EventChannel returns the channel of an event type: "/0.celeryev/worker.heartbeat" for
// "worker-heartbeat". "task-multi" is the channel of arrays of task events, and "*"
// gives the pattern (PSUBSCRIBE) of all.
func (k Keys) EventChannel(kind string) string {
	return k.fanout() + eventExchange + "/" + routingKey(kind)
}

// ControlChannel returns the channel of remote control commands.
func (k Keys) ControlChannel() string { return k.fanout() + controlExchange }

// Reply returns the list of replies to a command, by the routing key of its reply_to.
// kombu never expires it; set an expiry of some seconds.
func (k Keys) Reply(oid string) string { return k.Prefix + oid + "." + replyExchange }

// The default event_exchange and control_exchange.
const (
	eventExchange   = "celeryev"
	controlExchange = "celery.pidbox"
	replyExchange   = "reply.celery.pidbox"
)

func (k Keys) fanout() string {
	return k.Prefix + strings.ReplaceAll(cmp.Or(k.FanoutPrefix, "/{db}."), "{db}", strconv.Itoa(k.DB))
}
