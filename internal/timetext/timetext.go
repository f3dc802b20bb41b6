// Package timetext reads times and durations as people write them, so that flags,
// parameters of the API and forms of the console take the same.
package timetext

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Day is 24 hours.
const Day = 24 * time.Hour

// ParseDuration is time.ParseDuration with days before the other units: 30d, 1d12h.
func ParseDuration(s string) (time.Duration, error) {
	invalid := fmt.Errorf("%q is no duration such as 30d, 12h or 90s", s)
	days, rest, ok := strings.Cut(s, "d")
	if !ok {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, invalid
		}
		return d, nil
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil || n > 100*365 {
		return 0, invalid
	}
	d := time.Duration(n) * Day
	if rest == "" {
		return d, nil
	}
	more, err := time.ParseDuration(rest)
	if err != nil || more < 0 {
		return 0, invalid
	}
	return d + more, nil
}

// agePattern is an age of at most decades: a sum of whole units, the largest first.
var agePattern = regexp.MustCompile(`^([0-9]{1,4}d)?([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$`)

// unixPattern is a number of seconds as JSON writes numbers.
var unixPattern = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// localLayouts are times without a zone.
var localLayouts = []string{time.DateOnly, "2006-01-02 15:04", time.DateTime, "2006-01-02T15:04", "2006-01-02T15:04:05"}

// ParseTime reads a point in time: an age before now, such as 24h or 7d; a date or a time,
// in the zone of now unless it names another; or Unix seconds.
func ParseTime(s string, now time.Time) (time.Time, error) {
	if s != "" && agePattern.MatchString(s) {
		age, err := ParseDuration(s)
		return now.Add(-age).UTC(), err
	}
	if t, ok := parseRFC3339(s); ok {
		return t, nil
	}
	for _, layout := range localLayouts {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t.UTC(), nil
		}
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil && unixPattern.MatchString(s) && n >= 0 && n < 1e11 {
		return time.UnixMicro(int64(n * 1e6)).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("%q is not %s", s, TimeForms)
}

// TimeForms says what ParseTime reads, for messages.
const TimeForms = "an age such as 24h or 7d, a date such as 2006-01-02, a time such as 2006-01-02T15:04:05Z, or Unix seconds"

// rfc3339Pattern is the form of a time in RFC 3339; what it names need not exist.
var rfc3339Pattern = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$`)

// parseRFC3339 reads a time. It takes lower case and leap seconds, as RFC 3339 does and
// time.Parse does not.
func parseRFC3339(s string) (time.Time, bool) {
	if !rfc3339Pattern.MatchString(s) {
		return time.Time{}, false
	}
	s = strings.ToUpper(s)
	leap := s[14:19] == "59:60"
	if leap {
		s = s[:17] + "59" + s[19:]
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if leap {
		t = t.Add(time.Second)
	}
	return t.UTC(), err == nil
}
