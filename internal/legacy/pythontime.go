package legacy

import (
	"fmt"
	"time"
)

// isoUTCWithoutZone formats like Python's datetime.isoformat of a UTC time without zone,
// isoLocalWithZone like that of a time with the server's zone.
func isoUTCWithoutZone(t time.Time) string { return formatISO(t.UTC(), "") }
func isoLocalWithZone(t time.Time) string {
	return formatISO(t.Local(), "-07:00")
}

func formatISO(t time.Time, zoneLayout string) string {
	if t.Nanosecond()/1000 == 0 {
		return t.Format("2006-01-02T15:04:05" + zoneLayout)
	}
	return t.Format("2006-01-02T15:04:05.000000" + zoneLayout)
}

// timeAgo returns how long ago t is, in the legacy wording.
func (d *Dashboard) timeAgo(t time.Time) string {
	age := d.Now().Sub(t)
	count := func(n int, unit string) string {
		if n == 1 {
			return fmt.Sprintf("1 %s ago", unit)
		}
		return fmt.Sprintf("%d %ss ago", n, unit)
	}
	switch {
	case age < time.Minute:
		return "Just now"
	case age < time.Hour:
		return fmt.Sprintf("%d min ago", int(age.Minutes()))
	case age < 24*time.Hour:
		return count(int(age.Hours()), "hour")
	}
	return count(int(age.Hours())/24, "day")
}
