package celery

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// An Event is something that happened to a task or a worker. Its type determines which
// fields it has:
//
//	worker-online, worker-heartbeat, worker-offline   Freq, Active, Processed, LoadAvg, Software, Version, System
//	task-sent       UUID, RootID, ParentID, Name, Args, Kwargs, Retries, ETA, Expires, Queue, Exchange, RoutingKey
//	task-received   UUID, RootID, ParentID, Name, Args, Kwargs, Retries, ETA, Expires
//	task-started    UUID
//	task-succeeded  UUID, Result, Runtime
//	task-failed     UUID, Exception, Traceback
//	task-retried    UUID, Exception, Traceback
//	task-revoked    UUID, Terminated, Signal, Expired
//	task-rejected   UUID, Requeue
//	task-cancelled  UUID
//
// Source: celery/worker/heartbeat.py Heart, celery/worker/request.py Request,
// celery/worker/strategy.py default, celery/app/amqp.py AMQP.as_task_v2.
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

	Queue, Exchange, RoutingKey string

	Result    string // its repr
	Runtime   time.Duration
	Exception string // its repr
	Traceback string

	Terminated bool // it was running
	Signal     int  // that terminated it; 0 for none
	Expired    bool // it had expired
	Requeue    bool // it will be redelivered

	Freq              time.Duration // between heartbeats
	Active, Processed int           // running tasks; tasks received so far
	LoadAvg           [3]float64
	Software          string // "py-celery"
	Version, System   string // of the software; operating system
}

// routingKey returns the topic of an event type.
func routingKey(kind string) string { return strings.ReplaceAll(kind, "-", ".") }

// Append appends the event as a JSON object. An event of an unknown type has the common
// fields and the task's ID.
func (e *Event) Append(dst []byte) []byte {
	dst = append(dst, `{"hostname": `...)
	dst = appendString(dst, e.Hostname)
	dst = strconv.AppendInt(append(dst, `, "utcoffset": `...), int64(e.UTCOffset), 10)
	dst = strconv.AppendInt(append(dst, `, "pid": `...), int64(e.PID), 10)
	dst = strconv.AppendInt(append(dst, `, "clock": `...), e.Clock, 10)
	if strings.HasPrefix(e.Type, "worker-") {
		dst = e.appendWorker(dst)
	} else {
		dst = e.appendTask(dst)
	}
	dst = appendUnix(append(dst, `, "timestamp": `...), e.Time)
	dst = append(dst, `, "type": `...)
	dst = appendString(dst, e.Type)
	return append(dst, '}')
}

func (e *Event) appendWorker(dst []byte) []byte {
	dst = appendFloat(append(dst, `, "freq": `...), e.Freq.Seconds())
	dst = strconv.AppendInt(append(dst, `, "active": `...), int64(e.Active), 10)
	dst = strconv.AppendInt(append(dst, `, "processed": `...), int64(e.Processed), 10)
	dst = appendFloat(append(dst, `, "loadavg": [`...), e.LoadAvg[0])
	dst = appendFloat(append(dst, ", "...), e.LoadAvg[1])
	dst = appendFloat(append(dst, ", "...), e.LoadAvg[2])
	dst = appendString(append(dst, `], "sw_ident": `...), e.Software)
	dst = appendString(append(dst, `, "sw_ver": `...), e.Version)
	return appendString(append(dst, `, "sw_sys": `...), e.System)
}

func (e *Event) appendTask(dst []byte) []byte {
	dst = appendString(append(dst, `, "uuid": `...), e.UUID)
	switch e.Type {
	case "task-sent", "task-received":
		dst = appendText(append(dst, `, "root_id": `...), e.RootID)
		dst = appendText(append(dst, `, "parent_id": `...), e.ParentID)
		dst = appendString(append(dst, `, "name": `...), e.Name)
		dst = appendString(append(dst, `, "args": `...), e.Args)
		dst = appendString(append(dst, `, "kwargs": `...), e.Kwargs)
		dst = strconv.AppendInt(append(dst, `, "retries": `...), int64(e.Retries), 10)
		dst = appendTime(append(dst, `, "eta": `...), e.ETA)
		dst = appendTime(append(dst, `, "expires": `...), e.Expires)
		if e.Type == "task-sent" {
			dst = appendString(append(dst, `, "queue": `...), e.Queue)
			dst = appendString(append(dst, `, "exchange": `...), e.Exchange)
			dst = appendString(append(dst, `, "routing_key": `...), e.RoutingKey)
		}
	case "task-succeeded":
		dst = appendString(append(dst, `, "result": `...), e.Result)
		dst = appendFloat(append(dst, `, "runtime": `...), e.Runtime.Seconds())
	case "task-failed", "task-retried":
		dst = appendString(append(dst, `, "exception": `...), e.Exception)
		dst = appendText(append(dst, `, "traceback": `...), e.Traceback)
	case "task-revoked":
		dst = strconv.AppendBool(append(dst, `, "terminated": `...), e.Terminated)
		if e.Signal == 0 {
			dst = append(dst, `, "signum": null`...)
		} else {
			dst = strconv.AppendInt(append(dst, `, "signum": `...), int64(e.Signal), 10)
		}
		dst = strconv.AppendBool(append(dst, `, "expired": `...), e.Expired)
	case "task-rejected":
		dst = strconv.AppendBool(append(dst, `, "requeue": `...), e.Requeue)
	}
	return dst
}

// AppendEvent appends the message of one event, for keys.EventChannel(e.Type).
//
// Source: celery/events/dispatcher.py EventDispatcher.
func AppendEvent(dst []byte, e *Event) []byte {
	return appendEvents(dst, e.Append(make([]byte, 0, 512)), e.Hostname, routingKey(e.Type))
}

// AppendEvents appends the message of several task events of one worker, for
// keys.EventChannel("task-multi"). Celery sends at most 24 at once.
func AppendEvents(dst []byte, events []Event) []byte {
	body := append(make([]byte, 0, 512*len(events)), '[')
	hostname := ""
	for i := range events {
		if i > 0 {
			body = append(body, ", "...)
		}
		body = events[i].Append(body)
		hostname = events[i].Hostname
	}
	return appendEvents(dst, append(body, ']'), hostname, "task.multi")
}

func appendEvents(dst, body []byte, hostname, key string) []byte {
	dst = appendEnvelope(dst, body)
	dst = appendString(append(dst, `"hostname": `...), hostname)
	dst = append(dst, `}, "properties": {`...)
	return deliveryProperties{mode: '1', exchange: eventExchange, routingKey: key}.append(dst)
}

// maxMessage bounds the bodies of events, commands and replies in bytes.
const maxMessage = 16 << 20

// DecodeEvents decodes a message with one or several events. Missing and malformed
// fields are zero.
func DecodeEvents(envelope []byte) ([]Event, error) {
	e, err := openEnvelope(envelope)
	if err != nil {
		return nil, err
	}
	body, err := e.jsonBody(maxMessage)
	if err != nil {
		return nil, err
	}
	var events []Event
	read := func(value []byte) error {
		var ev Event
		if err := members(value, func(key, v []byte) error { ev.set(string(key), v); return nil }); err != nil {
			return err
		}
		if ev.Type == "" {
			return errors.New("an event has no type")
		}
		events = append(events, ev)
		return nil
	}
	if i := skipSpace(body, 0); i < len(body) && body[i] == '[' {
		err = elements(body, read)
	} else {
		err = read(body)
	}
	if err != nil {
		return nil, decodeError(fmt.Sprintf("the events are bad: %v", err), "")
	}
	return events, nil
}

func (e *Event) set(name string, v []byte) {
	switch name {
	case "type":
		e.Type = text(v)
	case "hostname":
		e.Hostname = text(v)
	case "utcoffset":
		e.UTCOffset = integer(v, 0)
	case "pid":
		e.PID = integer(v, 0)
	case "clock":
		e.Clock = int64(integer(v, 0))
	case "timestamp":
		e.Time = unix(v)
	case "freq":
		e.Freq = seconds(v)
	case "active":
		e.Active = integer(v, 0)
	case "processed":
		e.Processed = integer(v, 0)
	case "loadavg":
		i := 0
		_ = elements(v, func(load []byte) error {
			if i < len(e.LoadAvg) {
				e.LoadAvg[i], _ = number(load)
			}
			i++
			return nil
		})
	case "sw_ident":
		e.Software = text(v)
	case "sw_ver":
		e.Version = text(v)
	case "sw_sys":
		e.System = text(v)
	default:
		e.setTask(name, v)
	}
}

func (e *Event) setTask(name string, v []byte) {
	switch name {
	case "uuid":
		e.UUID = text(v)
	case "root_id":
		e.RootID = text(v)
	case "parent_id":
		e.ParentID = text(v)
	case "name":
		e.Name = text(v)
	case "args":
		e.Args = text(v)
	case "kwargs":
		e.Kwargs = text(v)
	case "retries":
		e.Retries = integer(v, 0)
	case "eta":
		e.ETA, _ = parseTime(v)
	case "expires":
		e.Expires, _ = parseTime(v)
	case "queue":
		e.Queue = text(v)
	case "exchange":
		e.Exchange = text(v)
	case "routing_key":
		e.RoutingKey = text(v)
	case "result":
		e.Result = text(v)
	case "runtime":
		e.Runtime = seconds(v)
	case "exception":
		e.Exception = text(v)
	case "traceback":
		e.Traceback = text(v)
	case "terminated":
		e.Terminated = string(v) == "true"
	case "signum":
		e.Signal = integer(v, 0)
	case "expired":
		e.Expired = string(v) == "true"
	case "requeue":
		e.Requeue = string(v) == "true"
	}
}
