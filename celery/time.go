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

// appendTime appends t as datetime.isoformat does, in UTC, or null.
func appendTime(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(dst, "null"...)
	}
	layout := `"2006-01-02T15:04:05.000000+00:00"`
	if t.Nanosecond() < 1000 {
		layout = `"2006-01-02T15:04:05+00:00"`
	}
	return t.UTC().AppendFormat(dst, layout)
}

// unixSeconds returns t as a Python timestamp: seconds since 1970, to the microsecond.
func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMicro()) / 1e6
}
