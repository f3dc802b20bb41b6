package sigma

import (
	"strconv"
	"time"
)

// A timePart is the part of a time that the modifiers minute to year compare.
type timePart uint8

const (
	noTimePart timePart = iota
	minutePart
	hourPart
	dayPart
	weekPart
	monthPart
	yearPart
)

func (p timePart) valueAt(t time.Time) int {
	switch p {
	case minutePart:
		return t.Minute()
	case hourPart:
		return t.Hour()
	case dayPart:
		return t.Day()
	case weekPart:
		_, w := t.ISOWeek()
		return w
	case monthPart:
		return int(t.Month())
	}
	return t.Year()
}

// parseEventTime reads an ISO 8601 date or date and time, or a Unix time. The
// magnitude of a Unix time decides whether it is in seconds, milliseconds,
// microseconds or nanoseconds. A time without a zone is UTC, and the result is
// in UTC.
func parseEventTime(s string) (time.Time, bool) {
	if t, ok := parseEpoch(s); ok {
		return t, true
	}
	c := timeScanner{s: s}
	year, month, day := c.number(4), 0, 0
	if c.expect("-"); !c.bad {
		month = c.number(2)
		c.expect("-")
		day = c.number(2)
	}
	if c.bad || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) {
		return time.Time{}, false
	}
	if c.s == "" {
		return time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC), true
	}
	c.expect("Tt ")
	hour := c.number(2)
	c.expect(":")
	minute, second := c.number(2), 0
	if c.accept(":") {
		second = c.number(2)
		if c.accept(".,") {
			for c.s != "" && isDigit(c.s[0]) {
				c.s = c.s[1:]
			}
		}
	}
	c.accept(" ")
	offset := c.zoneMinutes()
	if c.bad || c.s != "" || hour > 23 || minute > 59 || second > 60 {
		return time.Time{}, false
	}
	return time.Date(year, time.Month(month), day, hour, minute-offset, second, 0, time.UTC), true
}

func daysIn(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

func parseEpoch(s string) (time.Time, bool) {
	whole := 0
	for whole < len(s) && isDigit(s[whole]) {
		whole++
	}
	if whole < 9 || whole > 19 || whole < len(s) && s[whole] != '.' {
		return time.Time{}, false
	}
	for i := whole + 1; i < len(s); i++ {
		if !isDigit(s[i]) {
			return time.Time{}, false
		}
	}
	n, err := strconv.ParseInt(s[:whole], 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	for range (whole - 9) / 3 {
		n /= 1000
	}
	return time.Unix(n, 0).UTC(), true
}

// A timeScanner reads a time from the left. It sets bad at the first mismatch.
type timeScanner struct {
	s   string
	bad bool
}

// number reads exactly that many digits.
func (c *timeScanner) number(digits int) int {
	if c.bad || len(c.s) < digits {
		c.bad = true
		return 0
	}
	n := 0
	for i := range digits {
		if !isDigit(c.s[i]) {
			c.bad = true
			return 0
		}
		n = n*10 + int(c.s[i]-'0')
	}
	c.s = c.s[digits:]
	return n
}

// accept skips one character if it is any of these, and reports whether it did.
func (c *timeScanner) accept(anyOf string) (accepted bool) {
	if c.bad || c.s == "" {
		return false
	}
	for i := range len(anyOf) {
		if c.s[0] == anyOf[i] {
			c.s = c.s[1:]
			return true
		}
	}
	return false
}

// expect requires one of these characters.
func (c *timeScanner) expect(anyOf string) {
	if !c.accept(anyOf) {
		c.bad = true
	}
}

// zoneMinutes reads an optional zone: Z, ±hh:mm, ±hhmm or ±hh. It returns the offset in
// minutes.
func (c *timeScanner) zoneMinutes() int {
	if c.bad || c.s == "" || c.accept("Zz") {
		return 0
	}
	neg := c.accept("-")
	if !neg {
		c.expect("+")
	}
	n := c.number(2) * 60
	if c.accept(":") || c.s != "" {
		n += c.number(2)
	}
	if neg {
		return -n
	}
	return n
}
