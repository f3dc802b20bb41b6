package timetext

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30d": 30 * Day, "1d": Day, "1d12h": 36 * time.Hour, "0d": 0, "0": 0, "90s": 90 * time.Second, "720h": 30 * Day, "36500d": 36500 * Day,
	} {
		if got, err := ParseDuration(text); got != want || err != nil {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "-1d", "1.5d", "d1", "1d-1h", "1dd", "99999d", "36501d", "1x", "1d5", " 1d", "30"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q: %s", text, got)
		}
	}
}

// A time is an age, a date, a time with or without a zone, or Unix seconds.
func TestParseTime(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.FixedZone("", 2*3600))
	for text, want := range map[string]string{
		"24h": "2026-11-29T10:00:00Z", "7d": "2026-11-23T10:00:00Z", "1d12h": "2026-11-28T22:00:00Z", "0s": "2026-11-30T10:00:00Z",
		"2026-11-01": "2026-10-31T22:00:00Z", "2026-11-01 08:30": "2026-11-01T06:30:00Z", "2026-11-01T08:30:15": "2026-11-01T06:30:15Z",
		"2026-11-01T08:30:00Z": "2026-11-01T08:30:00Z", "2026-11-01t08:30:00.5+02:00": "2026-11-01T06:30:00.5Z", "2016-12-31T23:59:60Z": "2017-01-01T00:00:00Z",
		"0": "1970-01-01T00:00:00Z", "1767366245": "2026-01-02T15:04:05Z", "1.5": "1970-01-01T00:00:01.5Z",
	} {
		if got, err := ParseTime(text, now); err != nil || got.Format(time.RFC3339Nano) != want {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "h", "-1h", "yesterday", "2026-13-01", "2026-11-31", "12:00", "1e12", "-1", "99999d", "1h1d"} {
		if got, err := ParseTime(text, now); err == nil {
			t.Errorf("%q: %s", text, got)
		}
	}
}
