package celery

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Next are the tasks to send when t has succeeded with a result (JSON, as it is
// stored; nil is null): its callbacks, which are a group if there are several,
// and the next of its chain, which carries the rest. Send them before the result
// is written, as Celery does, and name them among the result's [Children].
//
// A task whose signature names no queue has no RoutingKey: it goes where the
// app's routes say. An error is about what this package can't start, a chord in
// place of a task; the tasks beside it are returned all the same.
//
// Source: celery/app/trace.py build_tracer.
func (t *Task) Next(result json.RawMessage) ([]Task, error) {
	args := append(appendRaw([]byte{'['}, result, "null"), ']')
	tasks, err := t.follow(t.Callbacks, args, len(t.Callbacks) > 1)
	last := len(t.Chain) - 1
	if last < 0 {
		return tasks, err
	}
	sent, chainErr := t.send(t.Chain[last].with("chain", appendSignatures(nil, t.Chain[:last])).prepended(args))
	return append(tasks, sent...), errors.Join(err, chainErr)
}

// Failed are the tasks to send when t has failed for good: its errbacks, which
// get t's ID. (Celery calls an errback with the exception itself only when it is
// code of the same worker.)
//
// Source: celery/backends/base.py Backend._call_task_errbacks.
func (t *Task) Failed() ([]Task, error) {
	return t.follow(t.Errbacks, appendStrings(nil, []string{t.ID}), true)
}

// Orphans are the tasks of t's chain, the next one first, which won't ever run
// after t has failed or was revoked. Each that has an ID gets t's result as its
// own, so that who waits for the end of the chain is told; if it has a Chord,
// it is a failed member of that.
//
// Source: celery/backends/base.py Backend.mark_as_failure.
func (t *Task) Orphans() []Task {
	var orphans []Task
	for i := len(t.Chain) - 1; i >= 0; i-- {
		orphan, err := t.Chain[i].task()
		if id := text(t.Chain[i].Options["task_id"]); err == nil && id != "" {
			orphan.ID = id
			orphans = append(orphans, orphan)
		}
	}
	return orphans
}

// ChordCallback is the task to send when all members of t's chord have
// succeeded, given their results in the order of the group. A chord may end in a
// chain or a group, therefore there may be several.
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
	return t.send(t.Chord.prepended(append(args, "]]"...)))
}

// AppendMember appends what a finished task adds to its chord: the member of
// the sorted set [Keys.ChordResults], scored by GroupIndex (+inf for -1). The
// result must have a value or an exception, as for [Result.Append].
func AppendMember(dst []byte, r *Result) []byte {
	dst = append(dst, "[1, "...)
	dst = appendString(dst, r.TaskID)
	dst = append(dst, ", "...)
	dst = appendString(dst, string(r.Status))
	dst = append(dst, ", "...)
	dst = r.appendValue(dst)
	return append(dst, ']')
}

// DecodeMember reads what AppendMember wrote: a result with TaskID, Status, and
// Value or Exception.
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

// ChordError is the exception with which a chord's callback fails when a member
// has: its result is to be this, and its errbacks are to be sent.
func ChordError(member *Result) *Exception {
	e := NewException("ChordError", fmt.Sprintf("Dependency %s raised %v", member.TaskID, member.Exception))
	e.Module = "celery.exceptions"
	return e
}

// follow sends signatures with further arguments, as a group or one by one.
func (t *Task) follow(signatures []Signature, args []byte, group bool) ([]Task, error) {
	if len(signatures) == 0 {
		return nil, nil
	}
	id := ""
	if group {
		id = NewID()
	}
	var tasks []Task
	var errs []error
	for i, s := range signatures {
		if _, in := s.Options["group_id"]; group && !in && s.SubtaskType == "" {
			s = s.with("group_id", appendString(nil, id)).with("group_index", fmt.Append(nil, i))
		}
		sent, err := t.send(s.prepended(args))
		tasks, errs = append(tasks, sent...), append(errs, err)
	}
	return tasks, errors.Join(errs...)
}

// send makes the tasks that t sends to start a signature.
func (t *Task) send(s Signature) ([]Task, error) {
	tasks, err := start(s)
	for i := range tasks {
		tasks[i].ParentID = t.ID
		tasks[i].RootID = cmp.Or(t.RootID, t.ID)
	}
	return tasks, err
}

// start makes the tasks with which a signature starts.
//
// Source: celery/canvas.py _chain.run, group.apply_async.
func start(s Signature) ([]Task, error) {
	switch s.SubtaskType {
	case "chain":
		return startChain(s)
	case "group":
		return startGroup(s)
	case "chord", "chunks":
		return nil, fmt.Errorf("a %s can't be started from here", s.SubtaskType)
	}
	t, err := s.task()
	if err != nil {
		return nil, err
	}
	return []Task{t}, nil
}

// steps are the tasks of a chain or group.
func (s *Signature) steps() ([]Signature, error) {
	steps, err := parseSignatures(fields(s.Kwargs)["tasks"])
	if err == nil && len(steps) == 0 {
		err = errors.New("it has no tasks")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.SubtaskType, err)
	}
	return steps, nil
}

func startChain(s Signature) ([]Task, error) {
	steps, err := s.steps()
	if err != nil {
		return nil, err
	}
	var rest []Signature
	last := len(steps) - 1
	for i := last; i >= 0; i-- {
		step := steps[i]
		if i < last && step.SubtaskType != "" {
			return nil, fmt.Errorf("a chain with a %s inside can't be started from here", step.SubtaskType)
		}
		if i == last {
			for _, name := range []string{"task_id", "group_id", "group_index", "chord"} {
				if value, ok := s.Options[name]; ok {
					step = step.with(name, value)
				}
			}
			if step, err = step.extended("link", s.Options["link"]); err != nil {
				return nil, err
			}
		}
		if step, err = step.extended("link_error", s.Options["link_error"]); err != nil {
			return nil, err
		}
		if _, frozen := step.Options["task_id"]; !frozen {
			step = step.with("task_id", appendString(nil, NewID()))
		}
		rest = append(rest, step)
	}
	// What already follows the chain comes first, as the last to run.
	after, err := optionSignatures(s.Options["chain"])
	if err != nil {
		return nil, err
	}
	next := rest[last].prepended(s.Args)
	return start(next.with("chain", appendSignatures(nil, append(after, rest[:last]...))))
}

func startGroup(s Signature) ([]Task, error) {
	steps, err := s.steps()
	if err != nil {
		return nil, err
	}
	id := s.Options["task_id"]
	if id == nil {
		id = appendString(nil, NewID())
	}
	var tasks []Task
	for i, step := range steps {
		if _, in := step.Options["group_id"]; !in {
			step = step.with("group_id", id).with("group_index", fmt.Append(nil, i))
		}
		if chain, ok := s.Options["chain"]; ok {
			step = step.with("chain", chain)
		}
		sent, err := start(step.prepended(s.Args))
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, sent...)
	}
	return tasks, nil
}

// task is the task of a signature for a single one, with a fresh ID if it has
// none.
//
// Source: celery/app/base.py Celery.send_task.
func (s *Signature) task() (Task, error) {
	t := Task{Name: s.Task, Args: s.Args, Kwargs: s.Kwargs, GroupIndex: -1}
	var errs []error
	queue := ""
	for name, value := range s.Options {
		if isNull(value) {
			continue
		}
		var err error
		switch name {
		case "task_id":
			t.ID = text(value)
		case "queue":
			queue = text(value)
		case "exchange":
			t.Exchange = text(value)
		case "routing_key":
			t.RoutingKey = text(value)
		case "priority":
			t.Priority = integer(value, 0)
		case "countdown":
			t.ETA = time.Now().Add(seconds(value))
		case "eta":
			t.ETA, err = parseTime(value)
		case "expires":
			if value[0] == '"' {
				t.Expires, err = parseTime(value)
			} else {
				t.Expires = time.Now().Add(seconds(value))
			}
		case "link":
			t.Callbacks, err = parseSignatures(value)
		case "link_error":
			t.Errbacks, err = parseSignatures(value)
		case "chain":
			t.Chain, err = parseSignatures(value)
		case "chord":
			t.Chord = new(Signature)
			*t.Chord, err = parseSignature(value)
		default:
			t.setOption(name, value)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: option %s: %w", s.Task, name, err))
		}
	}
	if queue != "" || t.Exchange == "" || t.RoutingKey == "" {
		t.Exchange, t.RoutingKey = "", queue
	}
	if t.ID == "" {
		t.ID = NewID()
	}
	t.setStamps(s.Options)
	return t, errors.Join(errs...)
}

func (t *Task) setOption(name string, value []byte) {
	switch name {
	case "root_id":
		t.RootID = text(value)
	case "parent_id":
		t.ParentID = text(value)
	case "group_id":
		t.GroupID = text(value)
	case "group_index":
		t.GroupIndex = integer(value, -1)
	case "reply_to":
		t.ReplyTo = text(value)
	case "shadow":
		t.Shadow = text(value)
	case "retries":
		t.Retries = integer(value, 0)
	case "time_limit":
		t.HardLimit = seconds(value)
	case "soft_time_limit":
		t.SoftLimit = seconds(value)
	case "ignore_result":
		t.IgnoreResult = string(value) == "true"
	case "replaced_task_nesting":
		t.setHeader([]byte(name), value)
	case "headers":
		_ = members(value, func(key, header []byte) error {
			t.setHeader(key, header)
			return nil
		})
	case "compression":
		if c := text(value); c == "zlib" || c == "gzip" || c == "application/x-gzip" {
			t.Compression = "zlib"
		}
	}
}

// setStamps moves the options that "stamped_headers" names to the headers.
func (t *Task) setStamps(options map[string]json.RawMessage) {
	names := options["stamped_headers"]
	if names == nil || isNull(names) {
		return
	}
	stamps := []byte{'{'}
	_ = elements(names, func(name []byte) error {
		if value, ok := options[text(name)]; ok {
			if len(stamps) > 1 {
				stamps = append(stamps, ", "...)
			}
			stamps = append(append(append(stamps, name...), ": "...), value...)
		}
		return nil
	})
	t.setHeader([]byte("stamped_headers"), names)
	t.setHeader([]byte("stamps"), append(stamps, '}'))
}

// timeLimits reads the header [hard, soft].
func timeLimits(value []byte) (hard, soft time.Duration) {
	i := 0
	_ = elements(value, func(limit []byte) error {
		switch i++; i {
		case 1:
			hard = seconds(limit)
		case 2:
			soft = seconds(limit)
		}
		return nil
	})
	return hard, soft
}
