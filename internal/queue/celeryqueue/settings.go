package celeryqueue

import (
	"cmp"
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

// Settings are the settings in a URL.
type Settings struct {
	Broker            *redisurl.Config
	Results           *redisurl.Config // nil: results are not written
	Keys              celery.Keys
	OwnQueues         []string // queues whose tasks are all picket's
	SharedQueues      []string // queues of which picket claims only the tasks that it knows
	Publish           string   // the queue that the intake's tasks go to
	Tasks             []string // the names of picket's task
	ResultExpires     time.Duration
	VisibilityTimeout time.Duration
	NodeName          string // "": derived from the host's name
	RemoteControl     bool
	IgnoreResults     bool // the intake's tasks have no results
}

// Queues returns the names of the queues that are consumed.
func (s *Settings) Queues() []string {
	return append(append([]string{}, s.OwnQueues...), s.SharedQueues...)
}

// Key returns the name of one of picket's own keys.
func (s *Settings) Key(name string) string {
	return s.Keys.Prefix + s.Broker.Prefix + ":celery:" + name
}

// parseURL parses
//
//	celery+redis://[user:password@]host[:port][/db][?…]
//
// The query takes redisurl.Parse's parameters, and those of docs/celery.md.
func parseURL(text string) (*Settings, error) {
	if !IsURL(text) {
		return nil, invalidURL("it begins with none of celery+redis://, celery+rediss:// and celery+redis+sentinel://")
	}
	base, tail, _ := strings.Cut(strings.TrimPrefix(text, scheme), "?")
	query, err := url.ParseQuery(tail)
	if err != nil {
		return nil, invalidURL("its query cannot be read")
	}
	p := parameters{query: query}
	s := &Settings{
		OwnQueues: p.all("queue"), SharedQueues: p.all("shared"), Tasks: p.all("task"), NodeName: p.text("node", ""),
		ResultExpires: p.duration("expires", 24*time.Hour), VisibilityTimeout: p.duration("visibility", time.Hour),
		RemoteControl: p.either("control", "on", "off"), IgnoreResults: p.either("ignore_result", "true", "false"),
		Keys: celery.Keys{Prefix: p.text("global_keyprefix", ""), ResultPrefix: p.text("result_keyprefix", ""), Sep: p.text("sep", ""),
			FanoutPrefix: p.text("fanout_prefix", ""), Steps: p.integers("priority_steps")},
	}
	publish := "celery"
	switch {
	case len(s.OwnQueues) == 1 && len(s.SharedQueues) == 0:
		publish = s.OwnQueues[0]
	case len(s.OwnQueues) == 0 && len(s.SharedQueues) == 0:
		s.OwnQueues, s.SharedQueues = []string{"picket"}, []string{"celery"}
	}
	s.Publish = p.text("publish", publish)
	if len(s.Tasks) == 0 {
		s.Tasks = []string{"ingestion.tasks.telemetry_ingest"}
	}
	results := p.text("results", "")
	if p.err != nil {
		return nil, p.err
	}
	if s.Broker, err = redisurl.Parse(strings.TrimSuffix(base+"?"+query.Encode(), "?")); err != nil {
		return nil, err
	}
	s.Keys.DB = s.Broker.Options.DB
	switch {
	case s.Broker.Options.IsClusterMode:
		return nil, invalidURL("Celery knows no Redis Cluster")
	case strings.Contains(s.NodeName, "@") != (s.NodeName != ""):
		return nil, invalidURL("node=%s is not as in picket@host", s.NodeName)
	case results == "":
		s.Results = s.Broker
	case results != "off":
		if s.Results, err = redisurl.Parse(results); err != nil {
			return nil, fmt.Errorf("results: %w", err)
		}
	}
	return s, nil
}

func invalidURL(format string, args ...any) error {
	return fmt.Errorf("celery URL: %w: %w", fmt.Errorf(format, args...), picket.ErrInvalid)
}

// parameters takes parameters out of a query.
type parameters struct {
	query url.Values
	err   error // of the first invalid value
}

func (p *parameters) all(name string) []string {
	values := p.query[name]
	delete(p.query, name)
	return values
}

func (p *parameters) text(name, otherwise string) string {
	if values := p.all(name); len(values) > 0 {
		return values[0]
	}
	return otherwise
}

// either reports whether a parameter has the first of two values, its default.
func (p *parameters) either(name, first, second string) bool {
	value := p.text(name, first)
	if value != first && value != second {
		p.fail("%s=%s is neither %s nor %s", name, value, first, second)
	}
	return value == first
}

func (p *parameters) duration(name string, otherwise time.Duration) time.Duration {
	value := p.text(name, otherwise.String())
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		p.fail("%s=%s is no duration", name, value)
	}
	return d
}

func (p *parameters) integers(name string) []int {
	var all []int
	for value := range strings.SplitSeq(p.text(name, ""), ",") {
		if value == "" {
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			p.fail("%s has %q, which is no number", name, value)
		}
		all = append(all, n)
	}
	return all
}

func (p *parameters) fail(format string, args ...any) {
	p.err = cmp.Or(p.err, invalidURL(format, args...))
}
