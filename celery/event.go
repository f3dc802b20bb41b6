package celery

import (
	"strings"
	"time"
)

// An Event is something that happened to a task or a worker. Its type determines which
// fields are sent:
//
//	worker-online, worker-heartbeat, worker-offline   Freq, Active, Processed, LoadAvg, Software, Version, System
//	task-received   UUID, RootID, ParentID, Name, Args, Kwargs, Retries, ETA, Expires
//	task-started    UUID
//	task-succeeded  UUID, Result, Runtime
//	task-failed     UUID, Exception, Traceback
//	task-retried    UUID, Exception, Traceback
//	task-revoked    UUID, Expired
//
// Source: celery/worker/heartbeat.py Heart, celery/worker/request.py Request,
// celery/worker/strategy.py default.
type Event struct {
	Type      string
	Hostname  string    // the node's name: "worker1@vm"
	UTCOffset int       // of the host's local time, in hours behind UTC
	PID       int       // of the worker
	Clock     int64     // Clock.Tick
	Time      time.Time // to the microsecond

	UUID             string // of the task
	RootID, ParentID string
	Name             string // the task's
	Args, Kwargs     string // reprs
	Retries          int
	ETA, Expires     time.Time // when it is due and when it expires

	Result    string // its repr
	Runtime   time.Duration
	Exception string // its repr
	Traceback string
	Expired   bool // it was revoked because it had expired

	Freq              time.Duration // between heartbeats
	Active, Processed int           // running tasks; tasks received so far
	LoadAvg           [3]float64
	Software          string // "py-celery"
	Version, System   string // of the software; operating system
}

// eventRoutingKey returns the topic of an event type.
func eventRoutingKey(eventType string) string { return strings.ReplaceAll(eventType, "-", ".") }

// AppendJSON appends the event as a JSON object. An event of an unknown type has the
// common fields and the task's ID.
func (e *Event) AppendJSON(dst []byte) []byte {
	dst = appendString(dst, `{"hostname": `, e.Hostname)
	dst = appendInt(dst, `, "utcoffset": `, int64(e.UTCOffset))
	dst = appendInt(dst, `, "pid": `, int64(e.PID))
	dst = appendInt(dst, `, "clock": `, e.Clock)
	if strings.HasPrefix(e.Type, "worker-") {
		dst = e.appendWorkerFields(dst)
	} else {
		dst = e.appendTaskFields(dst)
	}
	dst = appendTimestamp(dst, `, "timestamp": `, e.Time)
	return append(appendString(dst, `, "type": `, e.Type), '}')
}

func (e *Event) appendWorkerFields(dst []byte) []byte {
	dst = appendFloat(dst, `, "freq": `, e.Freq.Seconds())
	dst = appendInt(dst, `, "active": `, int64(e.Active))
	dst = appendInt(dst, `, "processed": `, int64(e.Processed))
	dst = appendFloat(dst, `, "loadavg": [`, e.LoadAvg[0])
	dst = appendFloat(dst, ", ", e.LoadAvg[1])
	dst = appendFloat(dst, ", ", e.LoadAvg[2])
	dst = appendString(dst, `], "sw_ident": `, e.Software)
	dst = appendString(dst, `, "sw_ver": `, e.Version)
	return appendString(dst, `, "sw_sys": `, e.System)
}

func (e *Event) appendTaskFields(dst []byte) []byte {
	dst = appendString(dst, `, "uuid": `, e.UUID)
	switch e.Type {
	case "task-received":
		dst = appendString(dst, `, "name": `, e.Name)
		dst = appendString(dst, `, "args": `, e.Args)
		dst = appendString(dst, `, "kwargs": `, e.Kwargs)
		dst = appendStringOrNull(dst, `, "root_id": `, e.RootID)
		dst = appendStringOrNull(dst, `, "parent_id": `, e.ParentID)
		dst = appendInt(dst, `, "retries": `, int64(e.Retries))
		dst = appendTime(dst, `, "eta": `, e.ETA)
		dst = appendTime(dst, `, "expires": `, e.Expires)
	case "task-succeeded":
		dst = appendString(dst, `, "result": `, e.Result)
		dst = appendFloat(dst, `, "runtime": `, e.Runtime.Seconds())
	case "task-failed", "task-retried":
		dst = appendString(dst, `, "exception": `, e.Exception)
		dst = appendStringOrNull(dst, `, "traceback": `, e.Traceback)
	case "task-revoked":
		dst = appendBool(dst, `, "terminated": false, "signum": null, "expired": `, e.Expired)
	}
	return dst
}

// AppendEvent appends the message of one event, for keys.EventChannel(e.Type).
//
// Source: celery/events/dispatcher.py EventDispatcher.
func AppendEvent(dst []byte, e *Event) []byte {
	return appendEventMessage(dst, e.AppendJSON(make([]byte, 0, 512)), e.Hostname, eventRoutingKey(e.Type))
}

// AppendEvents appends the message of several task events of one worker, for
// keys.EventChannel("task-multi").
func AppendEvents(dst []byte, events []Event) []byte {
	body := append(make([]byte, 0, 512*len(events)), '[')
	hostname := ""
	for i := range events {
		if i > 0 {
			body = append(body, ", "...)
		}
		body = events[i].AppendJSON(body)
		hostname = events[i].Hostname
	}
	return appendEventMessage(dst, append(body, ']'), hostname, "task.multi")
}

func appendEventMessage(dst, body []byte, hostname, routingKey string) []byte {
	dst = appendString(appendEnvelopeStart(dst, body), `"hostname": `, hostname)
	dst = append(dst, `}, "properties": {`...)
	return deliveryProperties{mode: 1, exchange: eventExchange, routingKey: routingKey}.appendEnvelopeEnd(dst)
}

// A Heartbeat is what one worker reads in the worker-heartbeat event of another.
type Heartbeat struct {
	Clock    int64  `json:"clock"`
	Software string `json:"sw_ident"`
}

// DecodeHeartbeat decodes the message of a worker-heartbeat event. Its error is a
// *DecodeError.
func DecodeHeartbeat(envelope []byte) (h Heartbeat, err error) {
	err = decodeMessage(envelope, &h, nil)
	return h, err
}
