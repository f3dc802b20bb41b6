package celery

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// task returns the task of a single signature, with a new ID if it has none.
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
			stamps = append(append(appendString(stamps, text(name)), ": "...), value...)
		}
		return nil
	})
	t.setHeader([]byte("stamped_headers"), names)
	t.setHeader([]byte("stamps"), append(stamps, '}'))
}
