package celeryqueue

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
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

// ConsumedQueues returns the names of the queues that are consumed.
func (s *Settings) ConsumedQueues() []string {
	return slices.Concat(s.OwnQueues, s.SharedQueues)
}

// OwnKey returns the name of one of picket's own keys.
func (s *Settings) OwnKey(name string) string {
	return s.Keys.Prefix + s.Broker.Prefix + ":celery:" + name
}

// parseURL parses
//
//	celery+redis://[user:password@]host[:port][/db][?…]
//
// The query takes redisurl.Parse's parameters, and those of docs/celery.md.
func parseURL(text string) (*Settings, error) {
	if !IsURL(text) {
		return nil, invalidURLError("it begins with none of celery+redis://, celery+rediss:// and celery+redis+sentinel://")
	}
	base, tail, _ := strings.Cut(strings.TrimPrefix(text, scheme), "?")
	query, err := url.ParseQuery(tail)
	if err != nil {
		return nil, invalidURLError("its query cannot be read")
	}
	p := queryParameters{query: query}
	s := &Settings{
		OwnQueues: p.takeAll("queue"), SharedQueues: p.takeAll("shared"), Tasks: p.takeAll("task"), NodeName: p.takeText("node", ""),
		ResultExpires: p.takeDuration("expires", 24*time.Hour), VisibilityTimeout: p.takeDuration("visibility", time.Hour),
		RemoteControl: p.takeEither("control", "on", "off"), IgnoreResults: p.takeEither("ignore_result", "true", "false"),
		Keys: celery.Keys{Prefix: p.takeText("global_keyprefix", ""), ResultPrefix: p.takeText("result_keyprefix", "")},
	}
	publish := "celery"
	switch {
	case len(s.OwnQueues) == 1 && len(s.SharedQueues) == 0:
		publish = s.OwnQueues[0]
	case len(s.OwnQueues) == 0 && len(s.SharedQueues) == 0:
		s.OwnQueues, s.SharedQueues = []string{"picket"}, []string{"celery"}
	}
	s.Publish = p.takeText("publish", publish)
	if len(s.Tasks) == 0 {
		s.Tasks = []string{"ingestion.tasks.telemetry_ingest"}
	}
	results := p.takeText("results", "")
	if p.err != nil {
		return nil, p.err
	}
	if s.Broker, err = redisurl.Parse(strings.TrimSuffix(base+"?"+query.Encode(), "?")); err != nil {
		return nil, err
	}
	s.Keys.DB = s.Broker.Options.DB
	switch {
	case s.Broker.Options.IsClusterMode:
		return nil, invalidURLError("Celery knows no Redis Cluster")
	case strings.Contains(s.NodeName, "@") != (s.NodeName != ""):
		return nil, invalidURLError("node=%s is not as in picket@host", s.NodeName)
	case results == "":
		s.Results = s.Broker
	case results != "off":
		if s.Results, err = redisurl.Parse(results); err != nil {
			return nil, fmt.Errorf("results: %w", err)
		}
	}
	return s, nil
}

func invalidURLError(format string, args ...any) error {
	return fmt.Errorf("celery URL: %w: %w", fmt.Errorf(format, args...), picket.ErrInvalid)
}

// queryParameters takes parameters out of a query.
type queryParameters struct {
	query url.Values
	err   error // of the first invalid value
}

func (p *queryParameters) takeAll(name string) []string {
	values := p.query[name]
	delete(p.query, name)
	return values
}

func (p *queryParameters) takeText(name, fallback string) string {
	return append(p.takeAll(name), fallback)[0]
}

// takeEither reports whether a parameter, which has one of two values, has its default.
func (p *queryParameters) takeEither(name, defaultValue, otherValue string) (isDefault bool) {
	value := p.takeText(name, defaultValue)
	if value != defaultValue && value != otherValue {
		p.err = cmp.Or(p.err, invalidURLError("%s=%s is neither %s nor %s", name, value, defaultValue, otherValue))
	}
	return value == defaultValue
}

func (p *queryParameters) takeDuration(name string, fallback time.Duration) time.Duration {
	value := p.takeText(name, fallback.String())
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		p.err = cmp.Or(p.err, invalidURLError("%s=%s is no duration", name, value))
	}
	return d
}
