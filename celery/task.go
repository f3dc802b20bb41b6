package celery

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// A Task is one call of a function by its name, in protocol version 2. A zero value
// stands for what a producer leaves at None.
//
// Source: celery/app/amqp.py AMQP.as_task_v2.
type Task struct {
	ID     string // by default a UUID
	Name   string // of the function: "telemetry.telemetry_ingest"
	Shadow string // shown by monitors in place

	// Args is a JSON array and Kwargs an object, as the producer wrote them: they
	// may contain NaN and typed values, see NormalizeJSON. Nil means none.
	Args, Kwargs json.RawMessage

	// Embed is the JSON object of the tasks to run after this one, as the producer
	// wrote it; nil for none. See [Task.FollowUps].
	Embed json.RawMessage

	ETA     time.Time // do not run before
	Expires time.Time // do not run after
	Retries int       // earlier attempts

	RootID, ParentID string // the first task of the workflow, and the sender of this one
	GroupID          string
	GroupIndex       int  // index in the group, from 0; -1 for none
	IgnoreResult     bool // write no result

	ArgsRepr, KwargsRepr string // for monitors and logs
	Origin               string // the sender: "gen25881@vm"
	ReplyTo              string // an ID of the sender
	CorrelationID        string // equal to ID

	Priority             int    // 0, the first to be served, to 9
	Exchange, RoutingKey string // "" and the queue, except for named exchanges
	DeliveryTag          string // of this message; new each time it is sent

	// Headers are the headers that have no field here, as JSON: "timelimit", the
	// stamps ("stamped_headers", "stamps"), "replaced_task_nesting", and the
	// producer's own.
	Headers map[string]json.RawMessage
}

// emptyEmbedJSON is the Embed of a task after which none is to run.
const emptyEmbedJSON = `{"callbacks": null, "errbacks": null, "chain": null, "chord": null}`

// FollowUps returns how tasks follow this one: "callbacks" (link), "errbacks"
// (link_error), "chain" and "chord" are possible. This package cannot start them.
func (t *Task) FollowUps() (kinds []string) {
	if t.Embed == nil {
		return nil
	}
	_ = eachMember(t.Embed, func(key, value []byte) {
		switch string(key) {
		case "callbacks", "errbacks", "chain", "chord":
			if !isNull(value) && string(value) != "[]" {
				kinds = append(kinds, string(key))
			}
		}
	})
	return kinds
}

// Argument returns the argument at a position from 0, or else the keyword argument with
// a name, as the producer wrote it.
func (t *Task) Argument(position int, name string) (value json.RawMessage, ok bool) {
	var found json.RawMessage
	i := 0
	_ = eachElement(t.Args, func(value []byte) {
		if i == position {
			found = value
		}
		i++
	})
	if found != nil {
		return found, true
	}
	found = member(t.Kwargs, name)
	return found, found != nil
}

// Append appends the envelope that a Python producer would send. It fills in what is
// missing: IDs ([NewID]; RootID and CorrelationID are the task's own) and the delivery
// tag. Args, Kwargs and Embed must be JSON. The body is not compressed.
//
// A zero GroupIndex is used only if the task has a GroupID.
func (t *Task) Append(dst []byte) []byte {
	id := t.ID
	if id == "" {
		id = NewID()
	}
	dst = appendEnvelopeStart(dst, t.encodeBody())
	dst = t.appendHeaders(dst, id)
	dst = appendString(dst, `}, "properties": {"correlation_id": `, cmp.Or(t.CorrelationID, id))
	dst = appendString(dst, `, "reply_to": `, t.ReplyTo)
	if !t.Expires.IsZero() {
		dst = append(appendInt(dst, `, "expiration": "`, max(time.Until(t.Expires).Milliseconds(), 0)), '"')
	}
	dst = append(dst, ", "...)
	return deliveryProperties{2, t.Exchange, t.RoutingKey, t.DeliveryTag, t.Priority}.appendEnvelopeEnd(dst)
}

// encodeBody returns `[args, kwargs, embed]`.
func (t *Task) encodeBody() []byte {
	b := make([]byte, 0, len(t.Args)+len(t.Kwargs)+len(t.Embed)+96)
	b = appendRawOr(b, "[", t.Args, "[]")
	b = appendRawOr(b, ", ", t.Kwargs, "{}")
	b = appendRawOr(b, ", ", t.Embed, emptyEmbedJSON)
	return append(b, ']')
}

func (t *Task) appendHeaders(dst []byte, id string) []byte {
	dst = appendString(dst, `"lang": "py", "task": `, t.Name)
	dst = appendString(dst, `, "id": `, id)
	dst = appendStringOrNull(dst, `, "shadow": `, t.Shadow)
	dst = appendTime(dst, `, "eta": `, t.ETA)
	dst = appendTime(dst, `, "expires": `, t.Expires)
	dst = appendStringOrNull(dst, `, "group": `, t.GroupID)
	if t.GroupIndex < 0 || t.GroupID == "" {
		dst = append(dst, `, "group_index": null`...)
	} else {
		dst = appendInt(dst, `, "group_index": `, int64(t.GroupIndex))
	}
	dst = appendInt(dst, `, "retries": `, int64(t.Retries))
	dst = appendRawOr(dst, `, "timelimit": `, t.Headers["timelimit"], "[null, null]")
	dst = appendString(dst, `, "root_id": `, cmp.Or(t.RootID, id))
	dst = appendStringOrNull(dst, `, "parent_id": `, t.ParentID)
	dst = appendString(dst, `, "argsrepr": `, t.ArgsRepr)
	dst = appendString(dst, `, "kwargsrepr": `, t.KwargsRepr)
	dst = appendStringOrNull(dst, `, "origin": `, t.Origin)
	dst = appendBool(dst, `, "ignore_result": `, t.IgnoreResult)
	dst = appendRawOr(dst, `, "replaced_task_nesting": `, t.Headers["replaced_task_nesting"], "0")
	dst = appendRawOr(dst, `, "stamped_headers": `, t.Headers["stamped_headers"], "null")
	dst = appendRawOr(dst, `, "stamps": `, t.Headers["stamps"], "{}")
	for _, name := range slices.Sorted(maps.Keys(t.Headers)) {
		if _, written := unparsedHeaders[name]; !written {
			dst = appendRawOr(appendString(dst, ", ", name), ": ", t.Headers[name], "null")
		}
	}
	return dst
}

// unparsedHeaders are the headers of Celery that are kept in Headers, and their values that
// stand for none.
var unparsedHeaders = map[string]string{"timelimit": "[null, null]", "replaced_task_nesting": "0", "stamped_headers": "null", "stamps": "{}"}
