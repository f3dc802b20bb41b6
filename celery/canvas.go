package celery

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
)

// FollowUpTasks returns the tasks to send after t has succeeded with a result (JSON, as
// it is stored; nil is null): its callbacks, as a group if there are several, and the
// next task of its chain, which carries the rest. Send them before the result is
// written, as Celery does, and list them as [ResultChildren] of the result.
//
// A task whose signature names no queue has no RoutingKey: the app's routes apply. A
// task with a ChordSize starts a chord, see there. An error concerns a signature that
// cannot be decoded or started; the other tasks are returned all the same.
//
// Source: celery/app/trace.py build_tracer.
func (t *Task) FollowUpTasks(result json.RawMessage) ([]Task, error) {
	args := append(appendRaw([]byte{'['}, result, "null"), ']')
	tasks, err := t.startSignatures(t.Callbacks, args, len(t.Callbacks) > 1)
	last := len(t.Chain) - 1
	if last < 0 {
		return tasks, err
	}
	sent, chainErr := t.startSignature(t.Chain[last].withOption("chain", signatureArray(t.Chain[:last])).withArgsBefore(args))
	return append(tasks, sent...), errors.Join(err, chainErr)
}

// ErrbackTasks returns the tasks to send after t has failed for good: its errbacks,
// with t's ID as argument. (Celery calls an errback with the exception itself only if
// it is code of the same worker.)
//
// Source: celery/backends/base.py Backend._call_task_errbacks.
func (t *Task) ErrbackTasks() ([]Task, error) {
	return t.startSignatures(t.Errbacks, appendStrings(nil, []string{t.ID}), true)
}

// AbortedChain returns the tasks of t's chain, the next one first, that will never run
// because t has failed or was revoked. Each that has an ID gets t's result as its own,
// for whoever waits for the end of the chain; if it has a Chord, it is a failed member
// of that.
//
// Source: celery/backends/base.py Backend.mark_as_failure.
func (t *Task) AbortedChain() []Task {
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

// startSignatures returns the tasks that start signatures with further arguments, as a
// group or one by one.
func (t *Task) startSignatures(signatures []Signature, args []byte, group bool) ([]Task, error) {
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
			s = s.withOption("group_id", appendString(nil, id)).withOption("group_index", fmt.Append(nil, i))
		}
		sent, err := t.startSignature(s.withArgsBefore(args))
		tasks, errs = append(tasks, sent...), append(errs, err)
	}
	return tasks, errors.Join(errs...)
}

// startSignature returns the tasks that t sends to start a signature.
func (t *Task) startSignature(s Signature) ([]Task, error) {
	root := cmp.Or(t.RootID, t.ID)
	if s.SubtaskType == "chord" {
		s = s.withOption("root_id", appendString(nil, root))
	}
	tasks, err := startTasks(s)
	for i := range tasks {
		tasks[i].RootID, tasks[i].ParentID = root, t.ID
	}
	return tasks, err
}

// startTasks returns the tasks with which a signature starts.
//
// Source: celery/canvas.py _chain.run, group.apply_async.
func startTasks(s Signature) ([]Task, error) {
	switch s.SubtaskType {
	case "chain":
		return startChain(s)
	case "group":
		return startGroup(s)
	case "chord":
		return startChord(s)
	case "chunks":
		return nil, fmt.Errorf("a %s can't be started from here", s.SubtaskType)
	}
	t, err := s.task()
	if err != nil {
		return nil, err
	}
	return []Task{t}, nil
}

// subtasks returns the tasks of a chain or group.
func (s *Signature) subtasks() ([]Signature, error) {
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
	steps, err := s.subtasks()
	if err != nil {
		return nil, err
	}
	var rest []Signature
	last := len(steps) - 1
	for i := last; i >= 0; i-- {
		step := steps[i]
		if i == last {
			for _, name := range []string{"task_id", "group_id", "group_index", "chord"} {
				if value, ok := s.Options[name]; ok {
					step = step.withOption(name, value)
				}
			}
			if step, err = step.withExtraSignatures("link", s.Options["link"]); err != nil {
				return nil, err
			}
		}
		if step, err = step.withExtraSignatures("link_error", s.Options["link_error"]); err != nil {
			return nil, err
		}
		if _, frozen := step.Options["task_id"]; !frozen {
			step = step.withOption("task_id", appendString(nil, NewID()))
		}
		if step.SubtaskType == "group" && i < last {
			// Reason follows a group waits for all of it.
			step, rest = newChordSignature(step, rest[len(rest)-1]), rest[:len(rest)-1]
		}
		rest = append(rest, step)
	}
	// Reason already follows the chain comes first, as the last to run.
	after, err := optionSignatures(s.Options["chain"])
	if err != nil {
		return nil, err
	}
	next := len(rest) - 1
	return startTasks(rest[next].withArgsBefore(s.Args).withOption("chain", signatureArray(append(after, rest[:next]...))))
}

func startGroup(s Signature) ([]Task, error) {
	steps, err := s.subtasks()
	if err != nil {
		return nil, err
	}
	id := s.Options["task_id"]
	if id == nil {
		id = appendString(nil, NewID())
	}
	if err := checkTotalSize(len(steps), len(s.Options["chain"])+len(s.Args)); err != nil {
		return nil, err
	}
	var tasks []Task
	for i, step := range steps {
		if _, in := step.Options["group_id"]; !in {
			step = step.withOption("group_id", id).withOption("group_index", fmt.Append(nil, i))
		}
		if chain, ok := s.Options["chain"]; ok {
			step = step.withOption("chain", chain)
		}
		sent, err := startTasks(step.withArgsBefore(s.Args))
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, sent...)
	}
	return tasks, nil
}

// maxGroupBytes bounds the bytes that all tasks of a group carry together.
const maxGroupBytes = 256 << 20

func checkTotalSize(tasks, bytes int) error {
	if tasks*bytes > maxGroupBytes {
		return fmt.Errorf("a group of %d tasks that carry %d bytes each is too large", tasks, bytes)
	}
	return nil
}
