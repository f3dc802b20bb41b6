package celery

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
)

// Next are the tasks to send when t has succeeded with a result (JSON, as it is
// stored; nil is null): its callbacks, which are a group if there are several,
// and the next of its chain, which carries the rest. Send them before the result
// is written, as Celery does, and name them among the result's [Children].
//
// A task whose signature names no queue has no RoutingKey: it goes where the
// app's routes say. One with a ChordSize begins a chord, see there. An error is
// about a signature that can't be read or started; the tasks beside it are
// returned all the same.
//
// Source: celery/app/trace.py build_tracer.
func (t *Task) Next(result json.RawMessage) ([]Task, error) {
	args := append(appendRaw([]byte{'['}, result, "null"), ']')
	tasks, err := t.follow(t.Callbacks, args, len(t.Callbacks) > 1)
	last := len(t.Chain) - 1
	if last < 0 {
		return tasks, err
	}
	sent, chainErr := t.send(t.Chain[last].with("chain", signatureArray(t.Chain[:last])).prepended(args))
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
	root := cmp.Or(t.RootID, t.ID)
	if s.SubtaskType == "chord" {
		s = s.with("root_id", appendString(nil, root))
	}
	tasks, err := start(s)
	for i := range tasks {
		tasks[i].RootID, tasks[i].ParentID = root, t.ID
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
		if step.SubtaskType == "group" && i < last {
			// What follows a group waits for all of it.
			step, rest = chordOf(step, rest[len(rest)-1]), rest[:len(rest)-1]
		}
		rest = append(rest, step)
	}
	// What already follows the chain comes first, as the last to run.
	after, err := optionSignatures(s.Options["chain"])
	if err != nil {
		return nil, err
	}
	next := len(rest) - 1
	return start(rest[next].prepended(s.Args).with("chain", signatureArray(append(after, rest[:next]...))))
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
	if err := checkSpread(len(steps), len(s.Options["chain"])+len(s.Args)); err != nil {
		return nil, err
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

// maxSpread is how many bytes the tasks of a group may carry together of what
// each of them has to carry.
const maxSpread = 256 << 20

func checkSpread(tasks, bytes int) error {
	if tasks*bytes > maxSpread {
		return fmt.Errorf("a group of %d tasks that carry %d bytes each is too large", tasks, bytes)
	}
	return nil
}
