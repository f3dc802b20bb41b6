package celery

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// A Signature is a task to be sent later: a callback, or a step of a chain. It is a
// JSON object, of which everything is kept.
//
// Source: celery/canvas.py Signature.
type Signature struct {
	Task   string
	Args   json.RawMessage // a JSON array; nil for none
	Kwargs json.RawMessage // a JSON object; nil for none
	// Options are the options of apply_async as JSON: "task_id", "queue",
	// "priority", "countdown", "link" and so on.
	Options map[string]json.RawMessage
	// SubtaskType is "" for a single task, otherwise "chain", "group", "chord" and
	// so on; Kwargs then hold the tasks.
	SubtaskType string
	Immutable   bool // ignores the result of the previous task
	ChordSize   int  // of the callback of a chord, in Celery before 5.2; 0 for none
	// Rest are further members.
	Rest map[string]json.RawMessage
}

// parseSignature decodes a signature. It keeps b's memory.
func parseSignature(b []byte) (Signature, error) {
	var s Signature
	err := members(b, func(key, value []byte) error {
		switch string(key) {
		case "task":
			s.Task = text(value)
		case "args":
			s.Args = valueOf(value, '[')
		case "kwargs":
			s.Kwargs = valueOf(value, '{')
		case "options":
			s.Options = fields(value)
		case "subtask_type":
			s.SubtaskType = text(value)
		case "immutable":
			s.Immutable = string(value) == "true"
		case "chord_size":
			s.ChordSize = integer(value, 0)
		default:
			if s.Rest == nil {
				s.Rest = make(map[string]json.RawMessage)
			}
			s.Rest[string(key)] = value
		}
		return nil
	})
	if err == nil && s.Task == "" {
		err = fmt.Errorf("a signature names no task")
	}
	return s, err
}

// valueOf returns value if it begins with a bracket, else nil.
func valueOf(value []byte, bracket byte) []byte {
	if value[0] != bracket {
		return nil
	}
	return value
}

// fields returns the members of an object; none for anything else.
func fields(object []byte) map[string]json.RawMessage {
	m := make(map[string]json.RawMessage)
	_ = members(object, func(key, value []byte) error {
		m[string(key)] = value
		return nil
	})
	return m
}

// parseSignatures decodes an array of signatures, or a single one. Celery writes null
// for an omitted one.
func parseSignatures(b []byte) ([]Signature, error) {
	if b = bytes.TrimSpace(b); len(b) > 0 && b[0] == '{' {
		s, err := parseSignature(b)
		return []Signature{s}, err
	}
	var all []Signature
	err := elements(b, func(value []byte) error {
		if isNull(value) {
			return nil
		}
		s, err := parseSignature(value)
		all = append(all, s)
		return err
	})
	return all, err
}

// Append appends the signature as JSON.
func (s *Signature) Append(dst []byte) []byte {
	dst = append(dst, `{"task": `...)
	dst = appendString(dst, s.Task)
	dst = append(dst, `, "args": `...)
	dst = appendRaw(dst, s.Args, "[]")
	dst = append(dst, `, "kwargs": `...)
	dst = appendRaw(dst, s.Kwargs, "{}")
	dst = append(dst, `, "options": {`...)
	for i, name := range slices.Sorted(maps.Keys(s.Options)) {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(appendString(dst, name), ": "...)
		dst = appendRaw(dst, s.Options[name], "null")
	}
	dst = append(dst, `}, "subtask_type": `...)
	dst = appendText(dst, s.SubtaskType)
	dst = append(dst, `, "immutable": `...)
	dst = strconv.AppendBool(dst, s.Immutable)
	if s.ChordSize > 0 {
		dst = append(dst, `, "chord_size": `...)
		dst = strconv.AppendInt(dst, int64(s.ChordSize), 10)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Rest)) {
		dst = append(appendString(append(dst, ", "...), name), ": "...)
		dst = appendRaw(dst, s.Rest[name], "null")
	}
	return append(dst, '}')
}

// appendSignatures appends an array of signatures, or null.
func appendSignatures(dst []byte, all []Signature) []byte {
	if len(all) == 0 {
		return append(dst, "null"...)
	}
	dst = append(dst, '[')
	for i := range all {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = all[i].Append(dst)
	}
	return append(dst, ']')
}

// signatureArray returns signatures as an option, which must not be null in Celery.
func signatureArray(all []Signature) []byte {
	if len(all) == 0 {
		return []byte("[]")
	}
	return appendSignatures(nil, all)
}

// withOption returns a copy with an option set.
func (s Signature) withOption(name string, value []byte) Signature {
	options := make(map[string]json.RawMessage, len(s.Options)+1)
	maps.Copy(options, s.Options)
	options[name] = value
	s.Options = options
	return s
}

// withExtraSignatures returns a copy with signatures appended to an option.
func (s Signature) withExtraSignatures(name string, value []byte) (Signature, error) {
	old, err := optionSignatures(s.Options[name])
	if err != nil {
		return s, err
	}
	more, err := optionSignatures(value)
	if err != nil || len(more) == 0 {
		return s, err
	}
	return s.withOption(name, appendSignatures(nil, append(old, more...))), nil
}

func optionSignatures(value []byte) ([]Signature, error) {
	if value == nil || isNull(value) {
		return nil, nil
	}
	return parseSignatures(value)
}

// withArgsBefore returns a copy with arguments, a JSON array, before its own, unless it
// is immutable.
func (s Signature) withArgsBefore(args []byte) Signature {
	if !s.Immutable {
		s.Args = joinArrays(args, s.Args)
	}
	return s
}

// joinArrays returns one JSON array of the elements of two; nil is an empty one.
func joinArrays(a, b []byte) []byte {
	empty := func(array []byte) bool {
		i := skipSpace(array, 0)
		return i == len(array) || array[skipSpace(array, i+1)] == ']'
	}
	switch {
	case empty(b):
		return a
	case empty(a):
		return b
	}
	joined := make([]byte, 0, len(a)+len(b))
	joined = append(joined, a[:bytes.LastIndexByte(a, ']')]...)
	joined = append(joined, ", "...)
	return append(joined, b[bytes.IndexByte(b, '[')+1:]...)
}
