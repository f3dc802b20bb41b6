package celery

import (
	"encoding/json"
	"errors"
	"fmt"
)

// ChordCallback returns the task to send after all members of t's chord have succeeded,
// with their results in the order of the group. A chord may end in a chain or a group,
// so there may be several.
//
// All members have finished when keys.ChordResults has as many as keys.ChordSize and
// keys.ChordAdded together; these three keys are deleted then. If a member has failed,
// the tasks get [ChordError] as their result instead of being sent, and their
// ErrbackTasks are sent.
//
// Source: celery/backends/redis.py RedisBackend.on_chord_part_return.
func (t *Task) ChordCallback(results []json.RawMessage) ([]Task, error) {
	if t.Chord == nil {
		return nil, errors.New("the task isn't in a chord")
	}
	args := []byte("[[")
	for i, result := range results {
		if i > 0 {
			args = append(args, ", "...)
		}
		args = appendRaw(args, result, "null")
	}
	return t.startSignature(t.Chord.withArgsBefore(append(args, "]]"...)))
}

// AppendMember appends what a finished task adds to its chord: the member of the sorted
// set [Keys.ChordResults], scored by GroupIndex (+inf for -1). The result must have a
// value or an exception, as for [Result.Append].
func AppendMember(dst []byte, r *Result) []byte {
	dst = append(dst, "[1, "...)
	dst = appendString(dst, r.TaskID)
	dst = append(dst, ", "...)
	dst = appendString(dst, string(r.Status))
	dst = append(dst, ", "...)
	dst = r.appendValue(dst)
	return append(dst, ']')
}

// DecodeMember decodes what AppendMember wrote: a result with TaskID, Status, and Value
// or Exception.
func DecodeMember(b []byte) (*Result, error) {
	r, i := new(Result), 0
	var value []byte
	err := elements(b, func(v []byte) error {
		switch i++; i {
		case 2:
			r.TaskID = text(v)
		case 3:
			r.Status = Status(text(v))
		case 4:
			value = v
		}
		return nil
	})
	if err == nil && i != 4 {
		err = errors.New("not [1, id, status, result]")
	}
	if err != nil {
		return nil, fmt.Errorf("chord member: %w", err)
	}
	r.setValue(value)
	return r, nil
}

// ChordError returns the exception with which a chord's callback fails if a member has
// failed.
func ChordError(member *Result) *Exception {
	e := NewException("ChordError", fmt.Sprintf("Dependency %s raised %v", member.TaskID, member.Exception))
	e.Module = "celery.exceptions"
	return e
}

// startChord returns the tasks of a chord's header, each of which carries the body.
//
// Source: celery/canvas.py _chord.run.
func startChord(s Signature) ([]Task, error) {
	parts := fields(s.Kwargs)
	body, err := parseSignature(parts["body"])
	if err != nil {
		return nil, fmt.Errorf("chord: body: %w", err)
	}
	group, header := s.Options["task_id"], parts["header"]
	if len(header) > 0 && header[0] == '{' {
		group = fields(fields(header)["options"])["task_id"]
		header = fields(fields(header)["kwargs"])["tasks"]
	}
	steps, err := optionSignatures(header)
	if err != nil {
		return nil, fmt.Errorf("chord: header: %w", err)
	}
	if group == nil || isNull(group) {
		group = appendString(nil, NewID())
	}
	for name, value := range s.Options {
		if name != "task_id" {
			body = body.withOption(name, value)
		}
	}
	if len(steps) == 0 {
		return startTasks(body.withArgsBefore([]byte("[[]]")))
	}
	if _, frozen := body.Options["task_id"]; !frozen {
		body = body.withOption("task_id", appendString(nil, NewID()))
	}
	if _, in := body.Options["group_id"]; !in {
		body = body.withOption("group_id", group)
	}
	callback := body.Append(nil)
	if err := checkTotalSize(len(steps), len(callback)+len(s.Args)); err != nil {
		return nil, err
	}
	var tasks []Task
	for i, step := range steps {
		if step.SubtaskType == "group" || step.SubtaskType == "chord" {
			return nil, fmt.Errorf("a chord with a %s inside can't be started from here", step.SubtaskType)
		}
		step = step.withOption("chord", callback).withOption("group_id", group).withOption("group_index", fmt.Append(nil, i))
		sent, err := startTasks(step.withArgsBefore(s.Args))
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, sent...)
	}
	for i := range tasks {
		tasks[i].ChordSize = len(tasks)
	}
	return tasks, nil
}

// newChordSignature returns a chord of a group and the task after it.
func newChordSignature(group, next Signature) Signature {
	kwargs := next.Append(append(group.Append([]byte(`{"kwargs": {}, "header": `)), `, "body": `...))
	s := Signature{Task: "celery.chord", Kwargs: append(kwargs, '}'), SubtaskType: "chord"}
	if id, ok := group.Options["task_id"]; ok {
		s.Options = map[string]json.RawMessage{"task_id": id}
	}
	return s
}
