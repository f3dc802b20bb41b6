package celery

import (
	"fmt"
	"time"
)

// The formats of Python's isoformat, and a few others that producers in other languages
// write. Go parses fractions of a second in all of them.
var timeLayouts = [...]string{
	"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02T15:04:05Z0700",
	"2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02",
}

// parseTime parses an isoformat time; one without a zone is UTC. Empty and null are the
// zero time.
func parseTime(value []byte) (time.Time, error) {
	s := valueText(value)
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%.60q is no ISO 8601 time", s)
}
