package main

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/picket-edr/picket/internal/timetext"
)

// durationFlag is the value of a flag that takes a duration with days.
type durationFlag time.Duration

// addDurationFlag adds a flag that takes a duration with days. Its variable has the
// default.
func addDurationFlag(flags *pflag.FlagSet, d *time.Duration, name, usage string) {
	flags.Var((*durationFlag)(d), name, usage)
}

func (d *durationFlag) Set(s string) error {
	v, err := timetext.ParseDuration(s)
	if err == nil {
		*d = durationFlag(v)
	}
	return err
}

func (*durationFlag) Type() string { return "duration" }

func (d *durationFlag) String() string {
	if v := time.Duration(*d); v != 0 && v%timetext.Day == 0 {
		return fmt.Sprint(int64(v/timetext.Day), "d")
	}
	return time.Duration(*d).String()
}

// A timeFlag is the value of a flag that takes a point in time.
type timeFlag struct {
	time *time.Time
	text string
}

// addTimeRangeFlags adds --since and --until for what is selected by a time. The variable
// of a flag that is not given is zero.
func addTimeRangeFlags(flags *pflag.FlagSet, since, until *time.Time, selected string) {
	flags.Var(&timeFlag{time: since}, "since", "only "+selected+" from this `TIME` on: an age such as 24h or 30d, a date, or a time such as 2026-11-30T08:00:00Z")
	flags.Var(&timeFlag{time: until}, "until", "only "+selected+" before this `TIME`, likewise")
}

func (f *timeFlag) Set(s string) error {
	t, err := timetext.ParseTime(s, time.Now())
	if err == nil {
		*f.time, f.text = t, s
	}
	return err
}

func (*timeFlag) Type() string { return "time" }

func (f *timeFlag) String() string { return f.text }
