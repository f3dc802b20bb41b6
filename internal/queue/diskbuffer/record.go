package diskbuffer

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"fmt"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
)

// A record is the encoding of an EnqueueRequest in the buffer:
//
//	0          1 byte, which no gob begins with
//	version    1 byte, 1
//	id, agent  strings
//	events     uvarint
//	payload    string
//	n          uvarint, rejected events
//	n times    reason, cause, agent id, event id  strings
//	           events                             uvarint
//	           time                               varint, microseconds since 1970
//	           payload                            string
//
// where a string is its length as uvarint, then its bytes.
const recordVersion = 1

// appendEnqueueRequest appends r to dst.
func appendEnqueueRequest(dst []byte, r *queue.EnqueueRequest) []byte {
	dst = append(dst, 0, recordVersion)
	dst = appendString(dst, r.Message.ID)
	dst = appendString(dst, r.Message.Agent)
	dst = binary.AppendUvarint(dst, uint64(r.Message.Events))
	dst = appendString(dst, r.Message.Payload)
	dst = binary.AppendUvarint(dst, uint64(len(r.Rejected)))
	for i := range r.Rejected {
		l := &r.Rejected[i]
		dst = appendString(dst, string(l.Reason))
		dst = appendString(dst, l.Cause)
		dst = appendString(dst, l.AgentID)
		dst = appendString(dst, l.EventID)
		dst = binary.AppendUvarint(dst, uint64(l.Events))
		dst = binary.AppendVarint(dst, l.Time.UnixMicro())
		dst = appendString(dst, l.Payload)
	}
	return dst
}

func appendString[S string | []byte](dst []byte, s S) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// DecodeEnqueueRequest decodes a record, or the gob that earlier versions wrote. Its
// errors are picket.ErrInvalid.
func DecodeEnqueueRequest(p []byte) (queue.EnqueueRequest, error) {
	if len(p) < 2 || p[0] != 0 {
		return decodeGob(p)
	}
	if p[1] != recordVersion {
		return queue.EnqueueRequest{}, fmt.Errorf("decode buffered batch: version %d, where this picket reads %d: %w", p[1], recordVersion, picket.ErrInvalid)
	}
	d := decoder{p: p[2:]}
	r := queue.EnqueueRequest{Message: queue.Message{ID: string(d.bytes()), Agent: string(d.bytes()), Events: d.int(), Payload: d.bytes()}}
	for range d.int() {
		if d.bad {
			break
		}
		r.Rejected = append(r.Rejected, queue.DeadLetter{
			Reason: queue.DeadReason(d.bytes()), Cause: string(d.bytes()), AgentID: string(d.bytes()), EventID: string(d.bytes()),
			Events: d.int(), Time: d.time(), Payload: d.bytes(),
		})
	}
	if d.bad || len(d.p) > 0 {
		return queue.EnqueueRequest{}, fmt.Errorf("decode buffered batch: cut short or damaged: %w", picket.ErrInvalid)
	}
	return r, nil
}

// A decoder reads values from the front of p. Past the end it sets bad and
// returns zeros.
type decoder struct {
	p   []byte
	bad bool
}

func (d *decoder) int() int {
	v, n := binary.Uvarint(d.p)
	if n <= 0 || v > 1<<31 {
		d.bad, d.p = true, nil
		return 0
	}
	d.p = d.p[n:]
	return int(v)
}

func (d *decoder) time() time.Time {
	v, n := binary.Varint(d.p)
	if n <= 0 {
		d.bad, d.p = true, nil
		return time.Time{}
	}
	d.p = d.p[n:]
	return time.UnixMicro(v).UTC()
}

func (d *decoder) bytes() []byte {
	n := d.int()
	if n > len(d.p) {
		d.bad, d.p = true, nil
		return nil
	}
	b := d.p[:n:n]
	d.p = d.p[n:]
	return b
}

// The types of gob records. Gob matches fields by name, so these must never
// change.
type (
	gobRequest struct {
		Message  gobMessage
		Rejected []gobDeadLetter
	}
	gobMessage struct {
		ID      string
		Events  int
		Payload []byte
		Agent   string
	}
	gobDeadLetter struct {
		ID      int64
		Kind    string
		Cause   string
		AgentID string
		EventID string
		Events  int
		Time    time.Time
		Payload []byte
	}
)

func decodeGob(p []byte) (queue.EnqueueRequest, error) {
	var g gobRequest
	if err := gob.NewDecoder(bytes.NewReader(p)).Decode(&g); err != nil {
		return queue.EnqueueRequest{}, fmt.Errorf("decode buffered batch: %w: %w", err, picket.ErrInvalid)
	}
	r := queue.EnqueueRequest{Message: queue.Message(g.Message)}
	for _, l := range g.Rejected {
		r.Rejected = append(r.Rejected, queue.DeadLetter{ID: l.ID, Reason: queue.DeadReason(l.Kind), Cause: l.Cause,
			AgentID: l.AgentID, EventID: l.EventID, Events: l.Events, Time: l.Time, Payload: l.Payload})
	}
	return r, nil
}
