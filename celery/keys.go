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

// defaultPrioritySteps are kombu's PRIORITY_STEPS.
var defaultPrioritySteps = []int{0, 3, 6, 9}

func (k Keys) separator() string {
	if k.Sep == "" {
		return "\x06\x16"
	}
	return k.Sep
}

func (k Keys) prioritySteps() []int {
	if k.Steps == nil {
		return defaultPrioritySteps
	}
	return k.Steps
}

// List returns the list that a task of a priority is pushed to with LPUSH, and consumed
// from with RPOP: 0, the first to be served, to 9. Other priorities count as the
// nearest of these.
func (k Keys) List(queue string, priority int) string {
	steps := k.prioritySteps()
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
	return k.listAtStep(queue, steps[i])
}

func (k Keys) listAtStep(queue string, step int) string {
	if step == 0 {
		return k.Prefix + queue
	}
	return k.Prefix + queue + k.separator() + strconv.Itoa(step)
}

// Lists returns all lists of a queue in the order in which they are consumed.
func (k Keys) Lists(queue string) []string {
	lists := make([]string, 0, len(k.prioritySteps()))
	for _, step := range k.prioritySteps() {
		lists = append(lists, k.listAtStep(queue, step))
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
	return routingKey + k.separator() + pattern + k.separator() + queue
}

// Result returns the key of a task's result, which is also the channel on which it is
// published to waiting clients.
func (k Keys) Result(taskID string) string { return k.resultPrefix() + "celery-task-meta-" + taskID }

func (k Keys) resultPrefix() string {
	if k.ResultPrefix == "" || strings.ContainsRune(":_-.", rune(k.ResultPrefix[len(k.ResultPrefix)-1])) {
		return k.ResultPrefix
	}
	return k.ResultPrefix + "_"
}

// EventChannel returns the channel of an event type: "/0.celeryev/worker.heartbeat" for
// "worker-heartbeat". "task-multi" is the channel of arrays of task events, and "*"
// gives the pattern (PSUBSCRIBE) of all.
func (k Keys) EventChannel(eventType string) string {
	return k.fanoutPrefix() + eventExchange + "/" + eventRoutingKey(eventType)
}

// ControlChannel returns the channel of remote control commands.
func (k Keys) ControlChannel() string { return k.fanoutPrefix() + controlExchange }

// Reply returns the list of replies to a command, by the routing key of its reply_to.
// kombu never expires it; set an expiry of some seconds.
func (k Keys) Reply(replyRoutingKey string) string {
	return k.Prefix + replyRoutingKey + "." + replyExchange
}

// The default event_exchange and control_exchange.
const (
	eventExchange   = "celeryev"
	controlExchange = "celery.pidbox"
	replyExchange   = "reply.celery.pidbox"
)

func (k Keys) fanoutPrefix() string {
	return k.Prefix + strings.ReplaceAll(cmp.Or(k.FanoutPrefix, "/{db}."), "{db}", strconv.Itoa(k.DB))
}
