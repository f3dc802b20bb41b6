package sigma

import (
	"strconv"
	"strings"
	"testing"

	"github.com/picket-edr/picket/sigma/internal/literalindex"
)

// The state of an event is stale for any later one, also after the counter of
// epochs wraps.
func TestEpochsRunOut(t *testing.T) {
	rules, err := Parse("x.yml", []byte("title: t\nlevel: low\nlogsource: {product: p}\ndetection: {s: {F|contains: [abcd, bcde]}, f: {G: x}, condition: s and not f}\n"))
	if err != nil {
		t.Fatal(err)
	}
	rs, _ := Compile(rules, Options{})
	g := rs.Group(LogSource{Product: "p"})
	str := func(name, text string) Field { return Field{name, Value{String, text}} }
	m := NewMatcher()
	for i := range 3 * 4 {
		if i == 4 {
			m.epoch = literalindex.EpochLimit - 3
		}
		fields, want := []Field{str("F", "xabcdx")}, 1
		switch i % 3 {
		case 1:
			fields, want = append(fields, str("G", "X")), 0
		case 2:
			fields, want = []Field{str("F", "abc")}, 0
		}
		if got := len(m.Match(g, fields, nil)); got != want {
			t.Errorf("event %d: %d rules match, want %d", i, got, want)
		}
	}
	if m.epoch > 100 {
		t.Errorf("epoch %d: it did not start again", m.epoch)
	}
}

// What a matcher keeps after a huge event is bounded.
func TestMatcherShrinks(t *testing.T) {
	rules, _ := Parse("x.yml", []byte("title: t\nlevel: low\nlogsource: {product: p}\ndetection: {s: {F|contains: abcdefgh}, k: [needle], condition: 1 of them}\n"))
	rs, _ := Compile(rules, Options{})
	g := rs.Group(LogSource{Product: "p"})
	m := NewMatcher()
	huge := make([]Field, 3*maxReusedValueSlots)
	for i := range huge {
		huge[i] = Field{"F", Value{String, string(make([]byte, 1000)) + "éabcdefg needl"}}
	}
	m.Match(g, huge, nil)
	m.Match(g, huge[:1], nil)
	if cap(m.arena) > maxReusedArenaBytes || cap(m.values) > maxReusedValueSlots {
		t.Errorf("keeps %d bytes and %d values", cap(m.arena), cap(m.values))
	}
}

// A fieldref compares the first values of two fields, so that events with very many
// take little time: in quadratic time this would take minutes.
func TestFieldRefOfManyValues(t *testing.T) {
	rules, _ := Parse("x.yml", []byte("title: t\nlevel: low\nlogsource: {product: p}\ndetection: {s: {F|fieldref|contains: G}, condition: s}\n"))
	rs, errs := Compile(rules, Options{})
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	g, m := rs.Group(LogSource{Product: "p"}), NewMatcher()
	fields := func(n, same int) (all []Field) {
		for i := range n {
			f, o := "f", "o"
			if i == same {
				f, o = "same", "same"
			}
			all = append(all, Field{"F", Value{String, f + strings.Repeat("x", 100)}}, Field{"G", Value{String, o}})
		}
		return all
	}
	for _, tt := range []struct{ n, same, want int }{{200, 199, 1}, {65_000, 3, 1}, {65_000, -1, 0}} {
		if got := len(m.Match(g, fields(tt.n, tt.same), nil)); got != tt.want {
			t.Errorf("%d values, the same at %d: %d matches", tt.n, tt.same, got)
		}
	}
}

// Logsources that no rule names, of which senders may make up many, share one group.
func TestGroupsOfUnnamedLogSources(t *testing.T) {
	c, err := Parse("a.yml", []byte("title: x\nlogsource: {product: P}\ndetection: {s: {F: a}, condition: s}\n"))
	if err != nil {
		t.Fatal(err)
	}
	rs, _ := Compile(c, Options{})
	for i := range 1000 {
		rs.Group(LogSource{Product: "p", Category: strconv.Itoa(i), Service: strconv.Itoa(i)})
	}
	if len(rs.groups) != 1 {
		t.Errorf("%d groups", len(rs.groups))
	}
}
