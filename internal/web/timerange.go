package web

import (
	"fmt"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/timetext"
)

// A timeRange is what a form has for the time of what it lists.
type timeRange struct{ Since, Until string }

// parse returns the bounds. The bound of an empty text is zero.
func (r timeRange) parse(now time.Time) (since, until time.Time, err error) {
	if since, err = parseBound("since", r.Since, now); err == nil {
		until, err = parseBound("until", r.Until, now)
	}
	return since, until, err
}

func parseBound(name, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := timetext.ParseTime(text, now.UTC())
	if err != nil {
		return t, fmt.Errorf("%s: %w: %w", name, err, picket.ErrInvalid)
	}
	return t, nil
}
