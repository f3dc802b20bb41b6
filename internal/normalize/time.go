package normalize

import (
	"strconv"
	"time"

	"github.com/picket-edr/picket/sigma"
)

// parseTime parses Unix seconds, milliseconds, microseconds or nanoseconds (by
// magnitude), as a number or in a string, and ISO 8601 with a T or a space, in UTC
// if it has no offset. It returns the zero time for anything else, and for times
// that no working clock shows.
func parseTime(v sigma.Value) time.Time {
	switch v.Kind {
	case sigma.Number:
		return parseUnixByMagnitude(v.Text)
	case sigma.String:
		if t, ok := parseISO(v.Text); ok {
			return t
		}
		return parseUnixByMagnitude(v.Text)
	}
	return time.Time{}
}

func parseUnixByMagnitude(s string) time.Time {
	for i := range len(s) {
		// Checked first, because strconv's errors allocate.
		if c := s[i]; (c < '0' || c > '9') && c != '.' && c|0x20 != 'e' && c != '+' {
			return time.Time{}
		}
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		switch {
		case n < 1e11:
			return time.Unix(n, 0).UTC()
		case n < 1e14:
			return time.UnixMilli(n).UTC()
		case n < 1e17:
			return time.UnixMicro(n).UTC()
		}
		return time.Unix(0, n).UTC().Truncate(time.Microsecond)
	}
	f, err := strconv.ParseFloat(s, 64)
	switch {
	case err != nil || f > 1e14:
		return time.Time{}
	case f >= 1e11:
		f /= 1000
	}
	return time.UnixMicro(int64(f * 1e6)).UTC()
}

// parseISO parses 2006-01-02[T| ]15:04:05[.999…][Z|±07:00|±0700], and a date alone.
// time.Parse is not used because it allocates when a layout does not fit.
func parseISO(s string) (t time.Time, ok bool) {
	if len(s) < 10 || s[4] != '-' || s[7] != '-' {
		return time.Time{}, false
	}
	year, month, day := parseDigits(s[0:4]), parseDigits(s[5:7]), parseDigits(s[8:10])
	if year < 1970 || year > 2261 || month < 1 || month > 12 || day < 1 || day > 31 {
		return time.Time{}, false
	}
	if len(s) == 10 {
		return time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC), true
	}
	if len(s) < 19 || s[10] != 'T' && s[10] != ' ' && s[10] != 't' || s[13] != ':' || s[16] != ':' {
		return time.Time{}, false
	}
	hour, minute, second := parseDigits(s[11:13]), parseDigits(s[14:16]), parseDigits(s[17:19])
	if hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60 {
		return time.Time{}, false
	}
	rest, micros := s[19:], 0
	if rest != "" && (rest[0] == '.' || rest[0] == ',') {
		i, unit := 1, 100_000
		for ; i < len(rest) && '0' <= rest[i] && rest[i] <= '9'; i++ {
			micros += int(rest[i]-'0') * unit
			unit /= 10
		}
		rest = rest[i:]
	}
	offset, ok := parseZoneOffset(rest)
	if !ok {
		return time.Time{}, false
	}
	return time.Date(year, time.Month(month), day, hour, minute, second-offset, micros*1000, time.UTC), true
}

// parseZoneOffset parses a zone offset into seconds east of UTC.
func parseZoneOffset(s string) (seconds int, ok bool) {
	if s == "" || s == "Z" || s == "z" || s == " UTC" {
		return 0, true
	}
	if len(s) == 6 && s[3] == ':' {
		s = s[:3] + s[4:]
	}
	if len(s) != 5 || s[0] != '+' && s[0] != '-' {
		return 0, false
	}
	h, m := parseDigits(s[1:3]), parseDigits(s[3:5])
	if h < 0 || m < 0 {
		return 0, false
	}
	if s[0] == '-' {
		return -(h*3600 + m*60), true
	}
	return h*3600 + m*60, true
}

// parseDigits parses a short decimal number; it returns -1 on failure.
func parseDigits(s string) int {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return -1
		}
		n = n*10 + int(s[i]-'0')
	}
	return n
}
