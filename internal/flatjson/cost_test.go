package flatjson_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/sigma"
)

// repeat returns head, then what unit returns for each i below n, joined by commas, then
// tail.
func repeat(head string, n int, unit func(i int) string, tail string) string {
	var b strings.Builder
	b.WriteString(head)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(unit(i))
	}
	b.WriteString(tail)
	return b.String()
}

// hostile are events that cost much more than their bytes, were it not for the limits.
func hostile() []string {
	one := func(int) string { return "1" }
	member := func(i int) string { return fmt.Sprintf(`"%x":1`, i) }
	return []string{
		repeat(`{"`+strings.Repeat("k", 64<<10)+`":{`, 7600, member, "}}"), // one long name with many members
		repeat(`{"`+strings.Repeat("k", 4000)+`":{`, 8000, member, "}}"),
		repeat(strings.Repeat(`{"`+strings.Repeat("k", 60)+`":`, 60)+"{", 8000, member, strings.Repeat("}", 61)),
		repeat(`{"a":[`, 500_000, one, "]}"),
		repeat(`{"a":[`, flatjson.MaxLeaves-1, one, "]}"),
		repeat("{", 100_000, member, "}"),
		repeat("{", flatjson.MaxPathsPerEvent-1, member, "}"),
		repeat("{", 50_000, func(i int) string { return fmt.Sprintf(`"%x":{"a":{}}`, i) }, "}"),
		repeat(`{"a":[`, 60_000, func(int) string { return `"\\n"` }, "]}"), // escapes go to the arena
		`{"a":"` + strings.Repeat(`\u0041`, 150_000) + `"}`,
		`{"a":"\\n` + strings.Repeat(`long\\value `, 90_000) + `"}`,
		repeat(`{"a":[`, 300, func(int) string { return `"` + strings.Repeat("x", 1000) + `\\"` }, "]}"),
	}
}

// A LeafIndex finds what searching the leaves one by one finds.
func TestLeafIndex(t *testing.T) {
	for _, n := range []int{3, 1000} {
		event := repeat(`{"a":[`, n, func(i int) string { return fmt.Sprint(i % 7) }, `],"b":[1,"x",1]}`)
		var d flatjson.Decoder
		leaves, _, err := d.Leaves([]byte(event), nil)
		if err != nil {
			t.Fatal(err)
		}
		var x flatjson.LeafIndex
		x.Reset(leaves)
		for from := range len(leaves) + 1 {
			for _, v := range []sigma.Value{num("1"), num("6"), str("x"), str("1"), num("8")} {
				for _, name := range []string{"", "a", "b"} {
					want := -1
					for k := range leaves {
						i := (from + k) % len(leaves)
						if l := leaves[i]; l.Value == v && (name == "" || l.Path.Name == name) {
							want = i
							break
						}
					}
					got := x.FindWrapping(from, v)
					if name != "" {
						got = x.FindNamedWrapping(from, name, v)
					}
					if got != want {
						t.Fatalf("%d leaves: %v %q from %d is %d, want %d", n, v, name, from, got, want)
					}
				}
			}
		}
	}
}

// FuzzLeavesCost: reading an event allocates no more than a small multiple of its
// bytes. docs/limits.md states it.
func FuzzLeavesCost(f *testing.F) {
	for _, s := range hostile() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var d flatjson.Decoder
		testenv.CheckAllocated(t, 512<<10+96*len(in), func() { d.Leaves(in, nil) })
	})
}

// A long value with escapes is decoded in one array of its size: what growing arrays
// waste would be several times as much.
func TestLongEscapedValue(t *testing.T) {
	for _, value := range []string{strings.Repeat(`a long\\value `, 80_000), `\n` + strings.Repeat("x", 1<<20), strings.Repeat("x", 1<<20) + `\n`,
		strings.Repeat(`\u00e9\\\"`, 70_000)} {
		event := []byte(`{"a":"` + value + `","b":"\n"}`)
		var want map[string]string
		testenv.Check(t, json.Unmarshal(event, &want))
		testenv.CheckAllocated(t, len(event)+128<<10, func() {
			var d flatjson.Decoder
			leaves, _, err := d.Leaves(event, nil)
			if err != nil || leaves[0].Value.Text != want["a"] || leaves[1].Value.Text != want["b"] {
				t.Errorf("decoded wrongly: %v", err)
			}
		})
	}
}

// Within the limits, events of many values are accepted; past them they are not,
// whatever was read before.
func TestLimits(t *testing.T) {
	var used flatjson.Decoder
	member := func(i int) string { return fmt.Sprintf(`"%x":1`, i) }
	for _, tt := range []struct {
		name, event, reason string
	}{
		{"many values", repeat(`{"a":[`, flatjson.MaxLeaves, func(int) string { return "1" }, "]}"), ""},
		{"more values", repeat(`{"a":[`, flatjson.MaxLeaves+1, func(int) string { return "1" }, "]}"), "more than 65536 values"},
		{"many paths", repeat("{", flatjson.MaxPathsPerEvent, member, "}"), ""},
		{"more paths", repeat("{", flatjson.MaxPathsPerEvent+1, member, "}"), "more than 8192 distinct paths"},
		{"a long path", `{"` + strings.Repeat("k", flatjson.MaxPathBytes) + `":1}`, ""},
		{"a longer path", `{"` + strings.Repeat("k", flatjson.MaxPathBytes-1) + `":{"a":1}}`, "is longer than 4096 bytes"},
		{"long paths", repeat(`{"`+strings.Repeat("k", 4000)+`":{`, 19, member, "}}"), ""},
		{"longer paths", repeat(`{"`+strings.Repeat("k", 4000)+`":{`, 40, member, "}}"), "paths of its values take more than"},
	} {
		for range 2 {
			for _, d := range []*flatjson.Decoder{&used, {}} {
				_, _, err := d.Leaves([]byte(tt.event), nil)
				if tt.reason == "" && err != nil || tt.reason != "" && (err == nil || !strings.Contains(err.Error(), tt.reason)) {
					t.Errorf("%s: %v", tt.name, err)
				}
			}
		}
	}
}

// A decoder keeps a bounded amount of memory, whatever events it has read.
func TestKeptPaths(t *testing.T) {
	var d flatjson.Decoder
	kept := 0
	d.OnPath = func(p *flatjson.Path) { kept += len(p.Name) }
	for i := range 200 {
		event := repeat(fmt.Sprintf(`{"%d%s":{`, i, strings.Repeat("k", 3000)), 20, func(i int) string { return fmt.Sprintf(`"%x":1`, i) }, "}}")
		if _, _, err := d.Leaves([]byte(event), nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := d.InternedBytes(); n > 3<<20 || kept < 10<<20 {
		t.Errorf("%d bytes of %d kept", n, kept)
	}
}
