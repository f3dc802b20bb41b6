package celeryqueue

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisstats"
)

// maxPublishBytes bounds the bytes of the tasks published in one step.
const maxPublishBytes = 256 << 20

// Enqueue implements queue.Queue. It publishes a task for each event of m. After an
// error it is unknown whether the tasks were published; an event that is published
// twice is stored once.
func (q *Queue) Enqueue(ctx context.Context, m queue.Message, rejected ...queue.DeadLetter) error {
	if err := q.EnqueueAll(ctx, queue.EnqueueRequest{Message: m, Rejected: rejected}); err != nil {
		return fmt.Errorf("enqueue batch %s: %w", m.ID, err)
	}
	return nil
}

// EnqueueAll enqueues all requests in order in one step, or none.
func (q *Queue) EnqueueAll(ctx context.Context, rs ...queue.EnqueueRequest) error {
	if err := q.checkOpen(); err != nil {
		return err
	}
	args := []any{celery.BindingMember(q.set.Publish, q.set.Publish)}
	size := int64(0)
	for i := range rs {
		var tasks [][]byte
		if rs[i].Message.Events > 0 {
			var err error
			if tasks, err = q.encodeTasks(rs[i].Message.Payload); err != nil {
				return err
			}
		}
		args = append(args, rs[i].Message.ID, len(tasks))
		before := size
		for _, t := range tasks {
			size += int64(len(t))
			args = append(args, t)
		}
		if size > q.opt.MaxBytes || size > maxPublishBytes {
			return fmt.Errorf("tasks of %d bytes are more than the queue takes at once: %w", size, picket.ErrInvalid)
		}
		dropped, err := q.reserveCapacity(ctx, size-before, rs[i].Rejected)
		if err != nil {
			return err
		}
		if dropped {
			args = append(args, len(rs[i].Rejected), 0)
		} else {
			args = appendDeadLetters(append(args, 0), rs[i].Rejected)
		}
	}
	_, err := q.runScript(ctx, enqueueScript, []string{q.set.Keys.List(q.set.Publish, 0), q.set.Keys.BindingKey(q.set.Publish)}, args...)
	return err
}

// appendDeadLetters appends dead letters as the scripts expect them.
func appendDeadLetters(scriptArgs []any, deadLetters []queue.DeadLetter) []any {
	scriptArgs = append(scriptArgs, len(deadLetters))
	for i := range deadLetters {
		scriptArgs = redisstats.AppendDeadLetterArgs(scriptArgs, cmp.Or(deadLetters[i].Reason, queue.Rejected), &deadLetters[i])
	}
	return scriptArgs
}

// picketHeaderName is the header of tasks that carries what their argument cannot. Only
// picket's workers read it.
const picketHeaderName = "picket"

// A picketHeader is the value of that header.
type picketHeader struct {
	Batch    string `json:"batch"`
	Received int64  `json:"received"` // microseconds since 1970, as are all times here
	Queued   int64  `json:"queued"`
	ID       string `json:"id"`
	Sender   string `json:"sender,omitempty"`
	Index    string `json:"index,omitempty"`
	Agent    string `json:"agent"`
	Host     string `json:"host"`
	Type     string `json:"type"`
	OS       string `json:"os"`
	Time     int64  `json:"time"`
	// Size is how many bytes of the argument are the event as received; the rest
	// was added for Python's task.
	Size int `json:"size"`
}

// encodeTasks returns the tasks of a batch in wire format.
func (q *Queue) encodeTasks(payload []byte) ([][]byte, error) {
	b, err := picket.DecodeBatch(payload)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	decoder := new(flatjson.Decoder)
	out := make([][]byte, len(b.Events))
	for i := range b.Events {
		e := &b.Events[i]
		id := b.ID
		if len(b.Events) > 1 {
			id = fmt.Sprintf("%s.%d", b.ID, i)
		}
		args := append([]byte{'['}, e.Raw...)
		args = append(addLegacyFields(args, e, decoder), ']')
		n, err := json.Marshal(picketHeader{
			Batch: b.ID, Received: b.Received.UnixMicro(), Queued: now.UnixMicro(), ID: e.ID, Sender: e.Sender, Index: e.Index, Agent: e.AgentID, Host: e.Host,
			Type: e.Type, OS: e.OS, Time: e.Time.UnixMicro(), Size: len(e.Raw),
		})
		if err != nil {
			return nil, fmt.Errorf("event %s: %w", e.ID, err)
		}
		t := celery.Task{
			ID: id, Name: q.set.Tasks[0], Args: args, GroupIndex: -1, IgnoreResult: q.set.IgnoreResults, Origin: q.tagPrefix, RoutingKey: q.set.Publish,
			ArgsRepr: fmt.Sprintf("(<event %s of %s>,)", e.ID, e.AgentID), KwargsRepr: "{}",
			Headers: map[string]json.RawMessage{picketHeaderName: n},
		}
		out[i] = t.Append(nil)
	}
	return out, nil
}

// addLegacyFields adds to the event at the end of dst the fields that the legacy Python
// task requires.
func addLegacyFields(dst []byte, e *picket.Event, d *flatjson.Decoder) []byte {
	leaves, _, err := d.Leaves(e.Raw, nil)
	if err != nil {
		return dst
	}
	missing := map[string]any{"event_id": e.ID, "agent_id": e.AgentID, "event_type": e.Type, "severity": "info", "timestamp": e.Time.Unix()}
	for i := range leaves {
		delete(missing, leaves[i].Path.Name)
	}
	if len(missing) == 0 {
		return dst
	}
	members, _ := json.Marshal(missing) // strings and numbers always encode
	if len(bytes.TrimSpace(bytes.Trim(e.Raw, "{} \t\r\n"))) == 0 {
		members[0] = ' '
	} else {
		members[0] = ','
	}
	return append(dst[:len(dst)-1], members...)
}
