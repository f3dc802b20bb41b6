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
	s := text(value)
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

// seconds decodes a duration in seconds; anything but a number is 0.
func seconds(value []byte) time.Duration {
	n, ok := number(value)
	if !ok || n != n || n > 1e9 || n < -1e9 {
		return 0
	}
	return time.Duration(n * float64(time.Second))
}

// appendSeconds appends a duration in seconds, whole ones without a decimal point, or
// null.
func appendSeconds(dst []byte, d time.Duration) []byte {
	switch {
	case d == 0:
		return append(dst, "null"...)
	case d%time.Second == 0:
		return fmt.Appendf(dst, "%d", d/time.Second)
	}
	return appendFloat(dst, d.Seconds())
}

// unix decodes a Python timestamp: seconds since 1970, to the microsecond.
func unix(value []byte) time.Time {
	n, ok := number(value)
	if !ok || n != n || n < -1e11 || n > 1e11 || n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(n*1e6 + 0.5)).UTC()
}

func appendUnix(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(dst, "0.0"...)
	}
	return appendFloat(dst, float64(t.UnixMicro())/1e6)
}
