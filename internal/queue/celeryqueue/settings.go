package celeryqueue

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/celery"
	"github.com/picket-edr/picket/internal/redisurl"
)

// scheme begins the URLs of this package, before redisurl's.
const scheme = "celery+"

// IsURL reports whether a text is a URL of this package, by its scheme.
func IsURL(name string) bool {
	rest, found := strings.CutPrefix(name, scheme)
	return found && redisurl.IsURL(rest)
}

// settings are the settings in a URL.
type settings struct {
	broker        *redisurl.Config
	results       *redisurl.Config // nil: results are not written
	keys          celery.Keys
	ownQueues     []string // queues whose tasks are all picket's
	sharedQueues  []string // queues of which picket claims only the tasks that it knows
	publish       string   // the queue that the intake's tasks go to
	tasks         []string // the names of picket's task
	expires       time.Duration
	visibility    time.Duration
	node          string // "": derived from the host's name
	control       bool   // remote control is enabled
	ignoreResults bool   // the intake's tasks have no results
}

// parseURL parses
//
//	celery+redis://[user:password@]host[:port][/db][?…]
//
// The query takes redisurl.Parse's parameters, and these, here with their defaults:
//
//	queue         a queue of picket's own (repeatable; picket)
//	shared        a queue shared with other workers (repeatable; celery)
//	publish       the queue that the intake's tasks go to (the only queue named, or else celery)
//	task          the name of the task (repeatable; ingestion.tasks.telemetry_ingest)
//	results       the URL of the result backend, or off (the broker)
//	ignore_result true or false: the intake's tasks have no results (true)
//	expires       how long results are kept (24h; 0 means forever)
//	node          the worker's name in Flower and celery inspect (picket@host)
//	control       on or off: remote control (on)
//	visibility    the visibility_timeout of the other workers (1h)
//	global_keyprefix, result_keyprefix, sep, priority_steps, fanout_prefix
//	              kombu's transport options, if they are not the defaults
func parseURL(text string) (*settings, error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("celery URL: %w: %w", fmt.Errorf(format, args...), picket.ErrInvalid)
	}
	if !IsURL(text) {
		return nil, bad("it begins with none of celery+redis://, celery+rediss:// and celery+redis+sentinel://")
	}
	base, tail, _ := strings.Cut(strings.TrimPrefix(text, scheme), "?")
	query, err := url.ParseQuery(tail)
	if err != nil {
		return nil, bad("its query cannot be read")
	}
	take := func(name string) []string {
		v := query[name]
		delete(query, name)
		return v
	}
	one := func(name, otherwise string) string {
		if v := take(name); len(v) > 0 {
			return v[0]
		}
		return otherwise
	}
	s := &settings{ownQueues: take("queue"), sharedQueues: take("shared"), tasks: take("task"), node: one("node", "")}
	s.publish = "celery"
	if len(s.ownQueues) == 1 && len(s.sharedQueues) == 0 {
		s.publish = s.ownQueues[0]
	}
	if len(s.ownQueues) == 0 && len(s.sharedQueues) == 0 {
		s.ownQueues, s.sharedQueues = []string{"picket"}, []string{"celery"}
	}
	s.publish = one("publish", s.publish)
	if len(s.tasks) == 0 {
		s.tasks = []string{"ingestion.tasks.telemetry_ingest"}
	}
	s.keys = celery.Keys{Prefix: one("global_keyprefix", ""), ResultPrefix: one("result_keyprefix", ""), Sep: one("sep", ""), FanoutPrefix: one("fanout_prefix", "")}
	for step := range strings.SplitSeq(one("priority_steps", ""), ",") {
		if step == "" {
			continue
		}
		n, err := strconv.Atoi(step)
		if err != nil {
			return nil, bad("priority_steps has %q, which is no number", step)
		}
		s.keys.Steps = append(s.keys.Steps, n)
	}
	for _, d := range []struct {
		name      string
		to        *time.Duration
		otherwise time.Duration
	}{{"expires", &s.expires, 24 * time.Hour}, {"visibility", &s.visibility, time.Hour}} {
		*d.to = d.otherwise
		if text := one(d.name, ""); text != "" {
			if *d.to, err = time.ParseDuration(text); err != nil || *d.to < 0 {
				return nil, bad("%s=%s is no duration", d.name, text)
			}
		}
	}
	results, control, silent := one("results", ""), one("control", "on"), one("ignore_result", "true")
	s.control, s.ignoreResults = control == "on", silent == "true"
	if s.broker, err = redisurl.Parse(join(base, query)); err != nil {
		return nil, err
	}
	s.keys.DB = s.broker.Options.DB
	switch {
	case s.broker.Options.IsClusterMode:
		return nil, bad("Celery knows no Redis Cluster")
	case silent != "true" && silent != "false":
		return nil, bad("ignore_result=%s is neither true nor false", silent)
	case control != "on" && control != "off":
		return nil, bad("control=%s is neither on nor off", control)
	case strings.Contains(s.node, "@") != (s.node != ""):
		return nil, bad("node=%s is not as in picket@host", s.node)
	case results == "":
		s.results = s.broker
	case results != "off":
		if s.results, err = redisurl.Parse(results); err != nil {
			return nil, fmt.Errorf("results: %w", err)
		}
	}
	return s, nil
}

func join(base string, query url.Values) string {
	if len(query) == 0 {
		return base
	}
	return base + "?" + query.Encode()
}

// key returns the name of one of picket's own keys.
func (s *settings) key(name string) string {
	return s.keys.Prefix + s.broker.Prefix + ":celery:" + name
}
