package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

const day = 24 * time.Hour

// parseDuration is time.ParseDuration with days before the other units: 30d, 1d12h.
func parseDuration(s string) (time.Duration, error) {
	days, rest, ok := strings.Cut(s, "d")
	if !ok {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil || n > 100*365 {
		return 0, fmt.Errorf("%q is no duration such as 30d, 12h or 90s", s)
	}
	d := time.Duration(n) * day
	if rest == "" {
		return d, nil
	}
	more, err := time.ParseDuration(rest)
	if err != nil || more < 0 {
		return 0, fmt.Errorf("%q is no duration such as 30d, 12h or 90s", s)
	}
	return d + more, nil
}

// durationFlag is the value of a flag that takes a duration with days.
type durationFlag time.Duration

// addDurationFlag adds a flag that takes a duration with days. Its variable has the
// default.
func addDurationFlag(flags *pflag.FlagSet, d *time.Duration, name, usage string) {
	flags.Var((*durationFlag)(d), name, usage)
}

func (d *durationFlag) Set(s string) error {
	v, err := parseDuration(s)
	if err == nil {
		*d = durationFlag(v)
	}
	return err
}

func (*durationFlag) Type() string { return "duration" }

func (d *durationFlag) String() string {
	if v := time.Duration(*d); v != 0 && v%day == 0 {
		return fmt.Sprint(int64(v/day), "d")
	}
	return time.Duration(*d).String()
}
