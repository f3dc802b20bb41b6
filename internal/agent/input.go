package agent

import (
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/picket-edr/picket"
)

// ParseInput makes the input that spec names:
//
//	process                       processes of this host
//	replay:FILE[?speed=S&loops=N] recorded events
//
// agentID is whose events the host's own are; log hears what a source cannot see.
func ParseInput(spec, agentID string, log *slog.Logger) (Input, error) {
	name, arg, _ := strings.Cut(spec, ":")
	switch name {
	case "process":
		report := func(message, hint string) { log.Warn("process source: "+message, "hint", hint) }
		return Input{Name: spec, Source: &Process{AgentID: agentID, Report: report}}, nil
	case "replay":
		r, err := parseReplay(arg)
		if err != nil {
			return Input{}, fmt.Errorf("read source %q: %w", spec, err)
		}
		return Input{Name: spec, Source: r, Wait: true}, nil
	}
	return Input{}, fmt.Errorf("read source %q: the sources are process and replay:FILE: %w", spec, picket.ErrInvalid)
}

func parseReplay(arg string) (*Replay, error) {
	r := &Replay{Path: arg}
	if _, err := os.Stat(arg); err != nil {
		path, query, ok := strings.Cut(arg, "?")
		if !ok {
			return nil, err
		}
		if _, err := os.Stat(path); err != nil {
			return nil, err
		}
		v, err := url.ParseQuery(query)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", err, picket.ErrInvalid)
		}
		r.Path = path
		for key := range v {
			switch key {
			case "speed":
				r.Speed, err = strconv.ParseFloat(v.Get(key), 64)
			case "loops":
				r.Loops, err = strconv.Atoi(v.Get(key))
			default:
				err = fmt.Errorf("unknown option %q", key)
			}
			if err != nil {
				return nil, fmt.Errorf("%w: %w", err, picket.ErrInvalid)
			}
		}
	}
	return r, nil
}
