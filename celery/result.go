package celery

import (
	"cmp"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// A Status is the state of a task.
//
// Source: celery/states.py.
type Status string

// The statuses of results that a worker writes.
const (
	Success Status = "SUCCESS"
	Failure Status = "FAILURE"
	Retry   Status = "RETRY"
	Revoked Status = "REVOKED"
)

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
	return &Exception{Type: class, Args: []json.RawMessage{appendString(nil, "", message)}}
}

// String returns Python's repr: ValueError('bad event', 7).
func (e *Exception) String() string {
	if e == nil {
		return "None"
	}
	args := make([]string, len(e.Args))
	for i, arg := range e.Args {
		args[i] = string(arg)
		if arg[0] == '"' {
			args[i] = Repr(valueText(arg))
		}
	}
	return e.Type + "(" + strings.Join(args, ", ") + ")"
}

// append appends {"exc_type", "exc_message", "exc_module"}.
//
// Source: celery/backends/base.py Backend.prepare_exception.
func (e *Exception) append(dst []byte) []byte {
	dst = appendString(dst, `{"exc_type": `, e.Type)
	prefix := `, "exc_message": [`
	for _, arg := range e.Args {
		dst = appendRawOr(dst, prefix, arg, "null")
		prefix = ", "
	}
	return append(appendString(dst, `], "exc_module": `, cmp.Or(e.Module, "builtins")), '}')
}

// A Result is the result of a task: the value at [Keys.Result], which is also
// published.
type Result struct {
	TaskID string
	Status Status

	// Value is the return value of the task as JSON; nil is null.
	Value json.RawMessage
	// Exception replaces Value for Failure, Retry and Revoked.
	Exception *Exception
	Traceback string // may be empty

	GroupID  string // of the task
	ParentID string
	Done     time.Time // when it finished; zero before
}

// Append appends the result as Celery stores it. Value must be JSON.
//
// Source: celery/backends/base.py Backend._get_result_meta.
func (r *Result) Append(dst []byte) []byte {
	dst = appendString(dst, `{"status": `, string(r.Status))
	dst = append(dst, `, "result": `...)
	if r.Exception != nil {
		dst = r.Exception.append(dst)
	} else {
		dst = appendRawOr(dst, "", r.Value, "null")
	}
	dst = appendStringOrNull(dst, `, "traceback": `, r.Traceback)
	dst = appendTime(dst, `, "children": [], "date_done": `, r.Done)
	if r.GroupID != "" {
		dst = appendString(dst, `, "group_id": `, r.GroupID)
	}
	if r.ParentID != "" {
		dst = appendString(dst, `, "parent_id": `, r.ParentID)
	}
	return append(appendString(dst, `, "task_id": `, r.TaskID), '}')
}

// ResultStatus returns the status of a stored result, "" if it is not a result.
func ResultStatus(result []byte) Status { return Status(valueText(member(result, "status"))) }

// Repr returns Python's repr of a string, in the quotes that Python would choose.
func Repr(s string) string {
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		return goToPythonEscapes.Replace(strconv.Quote(s))
	}
	quoted := strconv.Quote(s)
	return "'" + doubleToSingleQuoted.Replace(goToPythonEscapes.Replace(quoted[1:len(quoted)-1])) + "'"
}

// goToPythonEscapes converts Go's escapes to Python's, which has fewer short ones and
// writes \xa0 for \u00a0.
var goToPythonEscapes = strings.NewReplacer(`\\`, `\\`, `\a`, `\x07`, `\b`, `\x08`, `\f`, `\x0c`, `\v`, `\x0b`, `\u00`, `\x`)

// doubleToSingleQuoted converts the content of a double-quoted string to that of a
// single-quoted one.
var doubleToSingleQuoted = strings.NewReplacer(`\\`, `\\`, `\"`, `"`, `'`, `\'`)
