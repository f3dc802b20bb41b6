package correlation_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/picket-edr/picket/sigma/correlation"
)

const counting = `
title: Count
id: id-count
correlation: {type: event_count, rules: [a], group-by: [User], timespan: 10m, condition: {gte: 3}}
---
title: Values
id: id-values
correlation: {type: value_count, rules: [a], group-by: [User], timespan: 10m, condition: {field: Value, gte: 3}}
`

// Values that differ only past the length at which they are shortened are different.
func TestLongValues(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	c := correlation.New(correlate(t, counting).Correlations(), correlation.Options{})
	var matches []correlation.Match
	for i := range 3 {
		matches = c.Observe(obs{"a", i, fmt.Sprint("e", i), long + "1", fmt.Sprint(long, i)}.observation(i), matches)
		matches = c.Observe(obs{"a", i, fmt.Sprint("f", i), long + fmt.Sprint("other", i), "v"}.observation(i), matches)
	}
	if len(matches) != 2 {
		t.Fatalf("%d matches", len(matches))
	}
	for _, m := range matches {
		if v := m.Group[0].Value; len(v) > correlation.MaxValueBytes || !strings.HasPrefix(v, "xxx") || len(m.Events) != 3 {
			t.Errorf("%d events of the group %q", len(m.Events), v)
		}
	}
	if v := correlation.ShortenValue(long); v != correlation.ShortenValue(v) || correlation.ShortenValue(long+"1") == v {
		t.Errorf("shortened to %q", v)
	}
}

// The memory of observations, groups and propagated matches is bounded, whatever they have.
func TestBytesAreBounded(t *testing.T) {
	const limit = 2 << 20
	for name, rules := range map[string]string{"groups": counting, "chained": chained} {
		t.Run(name, func(t *testing.T) {
			c := correlation.New(correlate(t, rules).Correlations(), correlation.Options{MaxBytes: limit})
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for i := range 20_000 {
				o := obs{string("ab"[i%2]), i / 10, fmt.Sprintf("%0500d", i), fmt.Sprintf("%01000d", i/2), "x"}
				c.Observe(o.observation(i/10), nil)
				if i%1000 == 0 {
					c.Advance(epoch.Add(time.Duration(i/10)*time.Second), nil)
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			if n := int(after.HeapAlloc) - int(before.HeapAlloc); n > 3*limit || c.Evicted() == 0 {
				t.Errorf("%d bytes kept, %d observations, %d evicted", n, c.Len(), c.Evicted())
			}
			if n := len(c.State()); n > 3*limit {
				t.Errorf("state of %d bytes", n)
			}
		})
	}
}
