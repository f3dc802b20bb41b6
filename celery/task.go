package celery

import (
	"bytes"
	"cmp"
	"compress/zlib"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
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

	Callbacks []Signature // "link": run with the result, when it succeeds
	Errbacks  []Signature // "link_error": run when it fails
	Chain     []Signature // the tasks that follow, the last element first
	Chord     *Signature  // run after all of the group

	ETA     time.Time // do not run before
	Expires time.Time // do not run after
	Retries int       // earlier attempts

	// SoftLimit and HardLimit bound how long the task may run.
	SoftLimit, HardLimit time.Duration

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
	Redelivered          bool   // delivered before, but not acknowledged

	// ChordSize is not part of the message. It is the number of members of a chord
	// that this task starts together with others of its group: set
	// keys.ChordSize(GroupID) to it before any of them is sent. It is 0 for all
	// other tasks, including members of a chord that has started.
	ChordSize int

	// Compression of the body: the name in the message ("application/x-gzip") when
	// it was received. A task with a compression is sent with zlib.
	Compression string

	// Headers are the headers other than Celery's own, as JSON. Stamps are among
	// them ("stamped_headers", "stamps"), and "replaced_task_nesting".
	Headers map[string]json.RawMessage
}

// Argument returns the argument at a position from 0, or else the keyword argument with
// a name, as the producer wrote it.
func (t *Task) Argument(position int, name string) (json.RawMessage, bool) {
	var found json.RawMessage
	i := 0
	_ = elements(t.Args, func(value []byte) error {
		if i == position {
			found = value
		}
		i++
		return nil
	})
	if found != nil {
		return found, true
	}
	_ = members(t.Kwargs, func(key, value []byte) error {
		if string(key) == name {
			found = value
		}
		return nil
	})
	return found, found != nil
}

// Retry returns the task to send to run t again, not before eta if that is not zero:
// with the same ID, and one more retry.
//
// Source: celery/app/task.py Task.signature_from_request.
func (t *Task) Retry(eta time.Time) Task {
	again := *t
	again.Retries++
	again.ETA, again.DeliveryTag, again.Redelivered = eta, "", false
	again.RootID, again.ParentID = cmp.Or(t.RootID, t.ID), t.ID
	return again
}

// Append appends the envelope that a Python producer would send. It fills in what is
// missing: IDs ([NewID]; RootID and CorrelationID are the task's own), the delivery
// tag, and the reprs of the arguments. Args and Kwargs must be JSON.
//
// A zero GroupIndex is used only if the task has a GroupID.
func (t *Task) Append(dst []byte) []byte {
	id := t.ID
	if id == "" {
		id = NewID()
	}
	dst = appendEnvelope(dst, t.body())
	dst = t.appendHeaders(dst, id)
	dst = append(dst, `}, "properties": {"correlation_id": `...)
	dst = appendString(dst, cmp.Or(t.CorrelationID, id))
	dst = append(dst, `, "reply_to": `...)
	dst = appendString(dst, t.ReplyTo)
	if !t.Expires.IsZero() {
		dst = append(dst, `, "expiration": "`...)
		dst = strconv.AppendInt(dst, max(time.Until(t.Expires).Milliseconds(), 0), 10)
		dst = append(dst, '"')
	}
	dst = append(dst, ", "...)
	return deliveryProperties{'2', t.Exchange, t.RoutingKey, t.DeliveryTag, t.Priority}.append(dst)
}

// body returns `[args, kwargs, embed]`, compressed if the task has a compression.
func (t *Task) body() []byte {
	b := make([]byte, 0, len(t.Args)+len(t.Kwargs)+96)
	b = append(b, '[')
	b = appendRaw(b, t.Args, "[]")
	b = append(b, ", "...)
	b = appendRaw(b, t.Kwargs, "{}")
	b = append(b, `, {"callbacks": `...)
	b = appendSignatures(b, t.Callbacks)
	b = append(b, `, "errbacks": `...)
	b = appendSignatures(b, t.Errbacks)
	b = append(b, `, "chain": `...)
	b = appendSignatures(b, t.Chain)
	b = append(b, `, "chord": `...)
	if t.Chord != nil {
		b = t.Chord.Append(b)
	} else {
		b = append(b, "null"...)
	}
	b = append(b, "}]"...)
	if t.Compression == "" {
		return b
	}
	var packed bytes.Buffer
	w := zlib.NewWriter(&packed)
	w.Write(b) // a Buffer never fails
	w.Close()
	return packed.Bytes()
}

// celeryHeaders are Celery's headers, which Headers cannot replace.
var celeryHeaders = []string{
	"lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id",
	"parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "compression", "redelivered",
}

func (t *Task) appendHeaders(dst []byte, id string) []byte {
	text := func(name, value string) {
		dst = append(dst, name...)
		dst = appendText(dst, value)
	}
	dst = append(dst, `"lang": "py", "task": `...)
	dst = appendString(dst, t.Name)
	text(`, "id": `, id)
	text(`, "shadow": `, t.Shadow)
	dst = append(dst, `, "eta": `...)
	dst = appendTime(dst, t.ETA)
	dst = append(dst, `, "expires": `...)
	dst = appendTime(dst, t.Expires)
	text(`, "group": `, t.GroupID)
	dst = append(dst, `, "group_index": `...)
	if t.GroupIndex < 0 || t.GroupID == "" {
		dst = append(dst, "null"...)
	} else {
		dst = strconv.AppendInt(dst, int64(t.GroupIndex), 10)
	}
	dst = append(dst, `, "retries": `...)
	dst = strconv.AppendInt(dst, int64(t.Retries), 10)
	dst = append(dst, `, "timelimit": [`...)
	dst = appendSeconds(dst, t.HardLimit)
	dst = append(dst, ", "...)
	dst = appendSeconds(dst, t.SoftLimit)
	text(`], "root_id": `, cmp.Or(t.RootID, id))
	text(`, "parent_id": `, t.ParentID)
	dst = append(dst, `, "argsrepr": `...)
	dst = appendString(dst, t.argsRepr())
	dst = append(dst, `, "kwargsrepr": `...)
	dst = appendString(dst, t.kwargsRepr())
	text(`, "origin": `, t.Origin)
	dst = append(dst, `, "ignore_result": `...)
	dst = strconv.AppendBool(dst, t.IgnoreResult)
	dst = append(dst, `, "replaced_task_nesting": `...)
	dst = appendRaw(dst, t.Headers["replaced_task_nesting"], "0")
	dst = append(dst, `, "stamped_headers": `...)
	dst = appendRaw(dst, t.Headers["stamped_headers"], "null")
	dst = append(dst, `, "stamps": `...)
	dst = appendRaw(dst, t.Headers["stamps"], "{}")
	for _, name := range slices.Sorted(maps.Keys(t.Headers)) {
		if _, stamp := stampHeaders[name]; !stamp && !slices.Contains(celeryHeaders, name) {
			dst = append(appendString(append(dst, ", "...), name), ": "...)
			dst = appendRaw(dst, t.Headers[name], "null")
		}
	}
	if t.Compression != "" {
		dst = append(dst, `, "compression": "application/x-gzip"`...)
	}
	return dst
}

// stampHeaders are headers of Celery's that are kept in Headers, unless they have these
// values, which stand for none.
var stampHeaders = map[string]string{"replaced_task_nesting": "0", "stamped_headers": "null", "stamps": "{}"}

// maxRepr bounds the reprs of arguments.
//
// Source: celery/app/amqp.py AMQP.argsrepr_maxsize.
const maxRepr = 1024

func (t *Task) argsRepr() string {
	if t.ArgsRepr != "" {
		return t.ArgsRepr
	}
	return string(reprTuple(t.Args, maxRepr))
}

func (t *Task) kwargsRepr() string {
	switch {
	case t.KwargsRepr != "":
		return t.KwargsRepr
	case len(t.Kwargs) == 0:
		return "{}"
	}
	return string(Repr(nil, t.Kwargs, maxRepr))
}
