package block

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/sigma"
)

// FuzzBuildCost: making blocks of an event allocates no more than a small multiple of its
// bytes and fields. docs/limits.md states it.
func FuzzBuildCost(f *testing.F) {
	values := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format+",", i)
		}
		return b.String()
	}
	f.Add([]byte(`{"a":[`+values(60_000, `"v%d"`)+`1]}`), uint16(0))
	f.Add([]byte(`{"a":[`+values(60_000, `"v%d"`)+`1]}`), uint16(1)) // fields in another order
	f.Add([]byte(`{"a":[`+values(60_000, `1`)+`1]}`), uint16(60_000))
	f.Add([]byte(`{`+values(8000, `"k%d":"v"`)+`"a":{}}`), uint16(8000))
	f.Add([]byte(`{"`+strings.Repeat("k", 4000)+`":{`+values(15, `"k%d":"v"`)+`"a":1}}`), uint16(3))
	f.Fuzz(func(t *testing.T, raw []byte, derived uint16) {
		ev := picket.Event{ID: "x", Raw: raw}
		var d flatjson.Decoder
		var err error
		if ev.Fields, err = d.Decode(raw, nil); err != nil {
			return
		}
		if derived > 0 {
			slices.Reverse(ev.Fields)
		}
		for i := range derived {
			ev.Fields = append(ev.Fields, sigma.Field{Name: fmt.Sprint("f", i%1000), Value: sigma.Value{Kind: sigma.String, Text: fmt.Sprint(i)}})
		}
		cost := len(raw) + 64*len(ev.Fields)
		testenv.CheckAllocated(t, 24<<20+48*cost, func() {
			b := NewEncoder()
			fresh := b.EncodeFresh([]picket.Event{ev}, nil)
			for _, index := range []bool{false, true} {
				in, err := ReadAll([]*Block{Open(fresh.Header, 1, fresh.Directory, memoryParts(fresh.Parts))})
				testenv.Check(t, err)
				if index {
					b.EncodeIndexed(in)
				} else {
					b.EncodeMerged(in)
				}
			}
		})
	})
}
