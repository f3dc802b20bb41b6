package celery

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Status is the state of a task.
//
// Source: celery/states.py.
type Status string

// The statuses of stored results, and Pending for tasks without a result.
const (
	Pending  Status = "PENDING"
	Received Status = "RECEIVED"
	Started  Status = "STARTED"
	Success  Status = "SUCCESS"
	Failure  Status = "FAILURE"
	Retry    Status = "RETRY"
	Revoked  Status = "REVOKED"
	Rejected Status = "REJECTED"
	Ignored  Status = "IGNORED"
)

// Ready reports whether the task has finished, successfully or not.
func (s Status) Ready() bool { return s == Success || s == Failure || s == Revoked }

// exception reports whether a result of this status is an exception.
func (s Status) exception() bool { return s == Failure || s == Retry || s == Revoked }

// An Exception is why a task failed. The client raises it.
type Exception struct {
	// Type is the name of the class, such as "ValueError". The client uses the
	// class of that name in Module, or creates one; a name in Module that is not an
	// exception is an error in the client.
	Type string
	// Module is the module of the class; "" means "builtins".
	Module string
	// Args are the arguments of the class, as JSON.
	Args []json.RawMessage
}

// NewException returns one of Python's built-in exceptions with a message.
func NewException(class, message string) *Exception {
	return &Exception{Type: class, Args: []json.RawMessage{appendString(nil, message)}}
}

// String returns Python's repr: ValueError('bad event', 7).
func (e *Exception) String() string {
	if e == nil {
		return "None"
	}
	var s strings.Builder
	s.WriteString(e.Type[strings.LastIndexByte(e.Type, '.')+1:])
	s.WriteByte('(')
	for i, arg := range e.Args {
		if i > 0 {
			s.WriteString(", ")
		}
		s.Write(Repr(nil, arg, maxRepr))
	}
	s.WriteByte(')')
	return s.String()
}

// append appends {"exc_type", "exc_message", "exc_module"}.
//
// Source: celery/backends/base.py Backend.prepare_exception.
func (e *Exception) append(dst []byte) []byte {
	dst = append(dst, `{"exc_type": `...)
	dst = appendString(dst, e.Type)
	dst = append(dst, `, "exc_message": [`...)
	for i, arg := range e.Args {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendRaw(dst, arg, "null")
	}
	dst = append(dst, `], "exc_module": `...)
	dst = appendString(dst, cmp.Or(e.Module, "builtins"))
	return append(dst, '}')
}

// parseException decodes an exception; anything else becomes the message of an
// Exception.
func parseException(b []byte) *Exception {
	e := new(Exception)
	err := members(b, func(key, value []byte) error {
		switch string(key) {
		case "exc_type":
			e.Type = text(value)
		case "exc_module":
			e.Module = text(value)
		case "exc_message":
			if elements(value, func(arg []byte) error { e.Args = append(e.Args, arg); return nil }) != nil {
				e.Args = []json.RawMessage{value}
			}
		}
		return nil
	})
	if err != nil || e.Type == "" {
		return &Exception{Type: "Exception", Args: []json.RawMessage{b}}
	}
	return e
}

// A Result is the result of a task: the value at [Keys.Result], which is also
// published.
type Result struct {
	TaskID string
	Status Status

	// Value is the return value of the task as JSON; nil is null. For a started
	// task it is {"pid", "hostname"}.
	Value json.RawMessage
	// Exception replaces Value for Failure, Retry and Revoked.
	Exception *Exception
	Traceback string // may be empty

	Children          []ResultChild // the tasks that it sent
	GroupID, ParentID string        // of the task
	Done              time.Time     // when it finished; zero before

	// An ExtendedResult has facts about a task that are stored with its result.
	Extended *ExtendedResult
}

// A ResultChild is a task that a task has sent, or a group of them.
type ResultChild struct {
	ID      string
	Members []ResultChild // of a group; nil for a task
}

// ResultChildren returns the children of a task that has sent tasks: those of a group
// become one child.
func ResultChildren(sent []Task) []ResultChild {
	var all []ResultChild
	groups := make(map[string]int) // index in all
	for i := range sent {
		child := ResultChild{ID: sent[i].ID}
		group := sent[i].GroupID
		if group == "" {
			all = append(all, child)
			continue
		}
		at, ok := groups[group]
		if !ok {
			at = len(all)
			groups[group] = at
			all = append(all, ResultChild{ID: group})
		}
		all[at].Members = append(all[at].Members, child)
	}
	return all
}

// append appends `[["id", null], null]`, or the members in place of the last.
//
// Source: celery/result.py AsyncResult.as_tuple, GroupResult.as_tuple.
func (c *ResultChild) append(dst []byte) []byte {
	dst = append(appendString(append(dst, "[["...), c.ID), ", null], "...)
	if c.Members == nil {
		return append(dst, "null]"...)
	}
	return append(appendChildren(dst, c.Members), ']')
}

func appendChildren(dst []byte, all []ResultChild) []byte {
	dst = append(dst, '[')
	for i := range all {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = all[i].append(dst)
	}
	return append(dst, ']')
}

// parseChildren decodes what appendChildren writes, to a limited depth, without the
// parents that Celery names.
func parseChildren(b []byte, depth int) []ResultChild {
	if isNull(b) || depth > 8 {
		return nil
	}
	all := []ResultChild{}
	_ = elements(b, func(tuple []byte) error {
		var c ResultChild
		i := 0
		err := elements(tuple, func(v []byte) error {
			switch i++; i {
			case 1:
				return elements(v, func(id []byte) error {
					if c.ID == "" {
						c.ID = text(id)
					}
					return nil
				})
			case 2:
				c.Members = parseChildren(v, depth+1)
			}
			return nil
		})
		if err == nil {
			all = append(all, c)
		}
		return nil
	})
	return all
}

// ExtendedResult are facts about a task to keep with its result.
type ExtendedResult struct {
	Name         string
	Args, Kwargs json.RawMessage
	Worker       string // the node's name
	Retries      int
	Queue        string
}

// Append appends the result as Celery stores it. Value must be JSON.
//
// Source: celery/backends/base.py Backend._get_result_meta.
func (r *Result) Append(dst []byte) []byte {
	dst = append(dst, `{"status": `...)
	dst = appendString(dst, string(r.Status))
	dst = append(dst, `, "result": `...)
	dst = r.appendValue(dst)
	dst = append(dst, `, "traceback": `...)
	dst = appendText(dst, r.Traceback)
	dst = append(dst, `, "children": `...)
	dst = appendChildren(dst, r.Children)
	dst = append(dst, `, "date_done": `...)
	dst = appendTime(dst, r.Done)
	if r.GroupID != "" {
		dst = appendString(append(dst, `, "group_id": `...), r.GroupID)
	}
	if r.ParentID != "" {
		dst = appendString(append(dst, `, "parent_id": `...), r.ParentID)
	}
	if r.Extended != nil {
		dst = r.Extended.append(dst)
	}
	dst = append(dst, `, "task_id": `...)
	dst = appendString(dst, r.TaskID)
	return append(dst, '}')
}

// appendValue appends the exception or the value.
func (r *Result) appendValue(dst []byte) []byte {
	if r.Exception != nil && r.Status.exception() {
		return r.Exception.append(dst)
	}
	return appendRaw(dst, r.Value, "null")
}

// setValue sets the value or, depending on the status, the exception.
func (r *Result) setValue(value []byte) {
	if r.Status.exception() && len(value) > 0 && !isNull(value) {
		r.Exception = parseException(value)
		return
	}
	r.Value = value
}

func (x *ExtendedResult) append(dst []byte) []byte {
	dst = appendText(append(dst, `, "name": `...), x.Name)
	dst = appendRaw(append(dst, `, "args": `...), x.Args, "[]")
	dst = appendRaw(append(dst, `, "kwargs": `...), x.Kwargs, "{}")
	dst = appendText(append(dst, `, "worker": `...), x.Worker)
	dst = fmt.Appendf(dst, `, "retries": %d`, x.Retries)
	return appendText(append(dst, `, "queue": `...), x.Queue)
}

// DecodeResult decodes a result of Celery or Append. It keeps b's memory.
func DecodeResult(b []byte) (*Result, error) {
	r, x, extended := new(Result), new(ExtendedResult), false
	var value []byte
	err := members(b, func(key, v []byte) (err error) {
		switch string(key) {
		case "task_id":
			r.TaskID = text(v)
		case "status":
			r.Status = Status(text(v))
		case "result":
			value = v
		case "traceback":
			r.Traceback = text(v)
		case "children":
			r.Children = parseChildren(v, 0)
		case "group_id":
			r.GroupID = text(v)
		case "parent_id":
			r.ParentID = text(v)
		case "date_done":
			r.Done, err = parseTime(v)
		default:
			extended = x.set(string(key), v) || extended
		}
		return err
	})
	if err == nil {
		err = isUTF8(b)
	}
	if err == nil && r.Status == "" {
		err = errors.New("no status")
	}
	if err != nil {
		return nil, fmt.Errorf("result: %w", err)
	}
	if extended {
		r.Extended = x
	}
	r.setValue(value)
	return r, nil
}

// set sets the field with a name, and reports whether there is one.
func (x *ExtendedResult) set(name string, v []byte) bool {
	switch name {
	case "name":
		x.Name = text(v)
	case "args":
		x.Args = v
	case "kwargs":
		x.Kwargs = v
	case "worker":
		x.Worker = text(v)
	case "retries":
		x.Retries = integer(v, 0)
	case "queue":
		x.Queue = text(v)
	default:
		return false
	}
	return true
}
