package celery

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Keys says what Celery and kombu call things in Redis. The zero Keys are the
// names of an app without transport options, on database 0.
//
// Source: kombu/transport/redis.py Channel; celery/backends/base.py
// KeyValueStoreBackend.
type Keys struct {
	// Prefix is broker_transport_options["global_keyprefix"]. kombu puts it
	// before keys and before pub/sub channels.
	Prefix string
	// ResultPrefix is result_backend_transport_options["global_keyprefix"],
	// of results and groups only. Celery adds _ unless it ends in one of :_-.
	ResultPrefix string
	// Sep is "sep", between a queue and its priority; "" is "\x06\x16".
	Sep string
	// Steps are "priority_steps", ascending; nil is 0, 3, 6, 9.
	Steps []int
	// FanoutPrefix is "fanout_prefix", in which {db} stands for DB; "" is
	// "/{db}.". NoFanoutPrefix is fanout_prefix=False.
	FanoutPrefix   string
	NoFanoutPrefix bool
	// DB is the number of the broker's database, which is in the names of
	// channels as pub/sub knows no databases.
	DB int
	// UnackedKey, UnackedIndexKey and UnackedMutexKey are the options of
	// these names in lower case; "" are kombu's defaults.
	UnackedKey, UnackedIndexKey, UnackedMutexKey string
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

// List is the list that a task of the given priority is pushed to (LPUSH; it is
// consumed with RPOP): 0, the first to be served, up to 9. Other priorities
// count as the nearest of these.
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

// Lists are all lists of a queue in the order in which they are consumed.
func (k Keys) Lists(queue string) []string {
	lists := make([]string, 0, len(k.steps()))
	for _, step := range k.steps() {
		lists = append(lists, k.list(queue, step))
	}
	return lists
}

// Unacked is the hash of delivery tags to `[envelope, exchange, routing key]`.
func (k Keys) Unacked() string { return k.Prefix + cmp.Or(k.UnackedKey, "unacked") }

// UnackedIndex is the sorted set of delivery tags by the Unix time, in seconds,
// of their delivery.
func (k Keys) UnackedIndex() string { return k.Prefix + cmp.Or(k.UnackedIndexKey, "unacked_index") }

// UnackedMutex is the lock under which unacked messages are put back.
func (k Keys) UnackedMutex() string { return k.Prefix + cmp.Or(k.UnackedMutexKey, "unacked_mutex") }

// BindingKey is the set of an exchange's bindings, whose members [Keys.BindingMember]
// makes.
func (k Keys) BindingKey(exchange string) string { return k.Prefix + "_kombu.binding." + exchange }

// BindingMember is the member of BindingKey for a queue; the pattern is empty but for
// topic exchanges.
func (k Keys) BindingMember(routingKey, pattern, queue string) string {
	return routingKey + k.sep() + pattern + k.sep() + queue
}

// Result is the key of a task's result, and the channel on which it is
// published too: a waiting client listens there.
func (k Keys) Result(taskID string) string { return k.result() + "celery-task-meta-" + taskID }

// Group is the key under which a group's result is saved.
func (k Keys) Group(groupID string) string { return k.result() + "celery-taskset-meta-" + groupID }

// ChordResults is the sorted set of the results of a chord's members, by their
// place in the group; see [AppendMember].
func (k Keys) ChordResults(groupID string) string { return k.Group(groupID) + ".j" }

// ChordAdded counts the members that were added to a running chord.
func (k Keys) ChordAdded(groupID string) string { return k.Group(groupID) + ".t" }

// ChordSize is how many members a chord began with.
func (k Keys) ChordSize(groupID string) string { return k.Group(groupID) + ".s" }

func (k Keys) result() string {
	if k.ResultPrefix == "" || strings.ContainsRune(":_-.", rune(k.ResultPrefix[len(k.ResultPrefix)-1])) {
		return k.ResultPrefix
	}
	return k.ResultPrefix + "_"
}

// EventChannel is the channel of events of a type: "worker-heartbeat" to
// "/0.celeryev/worker.heartbeat". "task-multi" is that of arrays of task
// events, and "*" the pattern (PSUBSCRIBE) of all.
func (k Keys) EventChannel(kind string) string {
	return k.fanout() + eventExchange + "/" + routingKey(kind)
}

// ControlChannel is the channel of remote control commands.
func (k Keys) ControlChannel() string { return k.fanout() + controlExchange }

// Reply is the list of replies to the sender of a command, by the routing key of
// its reply_to. kombu never lets it expire; set a few seconds.
func (k Keys) Reply(oid string) string { return k.Prefix + oid + "." + replyExchange }

// The exchanges of an app whose event_exchange and control_exchange are as by
// default.
const (
	eventExchange   = "celeryev"
	controlExchange = "celery.pidbox"
	replyExchange   = "reply.celery.pidbox"
)

func (k Keys) fanout() string {
	if k.NoFanoutPrefix {
		return k.Prefix
	}
	return k.Prefix + strings.ReplaceAll(cmp.Or(k.FanoutPrefix, "/{db}."), "{db}", strconv.Itoa(k.DB))
}
