package store

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/sigma"
)

// A regular expression is refused before it takes memory.
func TestLargeRegexps(t *testing.T) {
	for _, query := range []string{
		`a~(a?){1000}b`, `a~((a{10}){10}){10}`, "a~" + strings.Repeat("a{1000}", 2000), "a~" + strings.Repeat("x", 2000), strings.Repeat(`a~(a?){200} `, 9),
	} {
		testenv.CheckAllocated(t, 8<<20, func() {
			if _, err := ParseQuery(query); !errors.Is(err, picket.ErrInvalid) || !strings.Contains(err.Error(), "too large") {
				t.Errorf("%.30s: %v", query, err)
			}
		})
	}
	for _, query := range []string{`a~(?i)powershell.*\s-e[nc]{0,20}\s+[A-Za-z0-9+/=]{100,300}`, `a~(\d{1,3}\.){3}\d{1,3} b~` + strings.Repeat("x", 900)} {
		if _, err := ParseQuery(query); err != nil {
			t.Errorf("%.30s: %v", query, err)
		}
	}
}

// Regular expressions and patterns with a ? see the first MaxRegexpInputBytes of a value.
func TestLongValues(t *testing.T) {
	long := strings.Repeat("x", MaxRegexpInputBytes)
	for query, want := range map[string]map[string]bool{
		`a~end`:    {"end" + long: true, long + "end": false},
		`a~^x+$`:   {long + "end": true},
		`a=*end`:   {long + "end": true},
		`a=*e?d*`:  {"end" + long: true, long + "end": false},
		`a=*end* `: {long + "end" + long: true},
	} {
		x, err := ParseQuery(query)
		testenv.Check(t, err)
		for value, want := range want {
			var v EventView
			v.Reset(&picket.Event{Raw: []byte(`{}`), Fields: []sigma.Field{{Name: "a", Value: sigma.Value{Kind: sigma.String, Text: value}}}})
			if got := x.Match(&v); got != want {
				t.Errorf("%s with a value of %d bytes: %v, want %v", query, len(value), got, want)
			}
		}
	}
}

// An ended context ends the evaluation of a query inside an event.
func TestContextChecker(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	value := strings.Repeat("a", MaxRegexpInputBytes)
	raw := []byte(`{"a":["` + value + `","` + value + `"]}`)
	for _, query := range []string{`a~a$`, `a=*a`, `aaa`, `not a=b`} {
		x, err := ParseQuery(query)
		testenv.Check(t, err)
		v := EventView{ContextChecker: NewContextChecker(ctx)}
		v.Reset(&picket.Event{Raw: raw})
		x.Match(&v)
		if !errors.Is(v.ContextChecker.Err(), context.Canceled) {
			t.Errorf("%s: error is %v", query, v.ContextChecker.Err())
		}
	}
	var none *ContextChecker
	if none.CountBytes(1<<30) != nil || none.Err() != nil {
		t.Error("a nil checker has an error")
	}
}
