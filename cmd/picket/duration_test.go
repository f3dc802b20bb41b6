package main

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30d": 30 * day, "1d": day, "1d12h": 36 * time.Hour, "0d": 0, "0": 0, "90s": 90 * time.Second, "720h": 30 * day, "36500d": 36500 * day,
	} {
		if got, err := parseDuration(text); got != want || err != nil {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "-1d", "1.5d", "d1", "1d-1h", "1dd", "99999d", "36501d", "1x", "1d5", " 1d"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q: %s", text, got)
		}
	}
}
