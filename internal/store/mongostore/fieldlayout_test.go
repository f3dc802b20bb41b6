package mongostore

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/sigma"
)

// Fields that detection may derive from an event are read back.
func TestFieldsRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	raw := []byte(`{"process":{"name":"C:\\a.exe","args":["x","y","x"],"n":null},"ok":true,"n":1.50,"a":"x","":"e"}`)
	var c eventCoder
	c.readLeaves(raw)
	for range 2000 {
		var fields []sigma.Field
		for i := range c.leaves {
			l := &c.leaves[i]
			f := sigma.Field{Name: l.Path.Name, Value: l.Value}
			switch rng.IntN(8) {
			case 0:
				f.Name = l.Path.Key
			case 1:
				f.Name = "Image"
			case 2:
				f.Value = sigma.Value{Kind: sigma.String, Text: "made up"}
			case 3:
				continue
			case 4:
				f.Value = sigma.Value{}
			}
			fields = append(fields, f)
			if rng.IntN(10) == 0 {
				fields = append(fields, f)
			}
		}
		layout, literals := encodeFields(c.leaves, fields)
		got, err := decodeFields(c.leaves, layout, literals)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(fields, got, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("layout %x (-want +got):\n%s", layout, d)
		}
	}
}

func FuzzDecodeFields(f *testing.F) {
	f.Add([]byte{layoutFromLeaf, 0, 2, layoutCutLeaf, 1, 1, layoutLiteral, 1, 1, 'x'}, "more")
	f.Add([]byte{layoutRenamedLeaf, 0, 200}, "")
	var c eventCoder
	c.readLeaves([]byte(`{"a":1,"b":{"c":2}}`))
	f.Fuzz(func(_ *testing.T, layout []byte, literals string) {
		decodeFields(c.leaves, layout, []string{literals})
	})
}

func TestLongestPlainRun(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "",
		`c:\windows\system32\`:    "system32",
		`"`:                       "",
		"müller":                  "ller",
		"a\nbc":                   "bc",
		"say hello world":         "say hello world",
		strings.Repeat("x", 1000): strings.Repeat("x", maxSearchedRunBytes),
	} {
		if got := longestPlainRun(text); got != want {
			t.Errorf("longestPlainRun(%q) = %q, want %q", text, got, want)
		}
	}
}

// A document has all values of host and agent_id, folded and once.
func TestEventNames(t *testing.T) {
	var c eventCoder
	long := strings.Repeat("x", 2*maxNameBytes)
	for raw, want := range map[string]eventNames{
		`{"agent_id":"A","host":{"hostname":"x"}}`: {Host: []string{"ws-1"}, Agent: []string{"a"}},
		`{"agent_id":"b","host":"h"}`:              {Host: []string{"ws-1", "h"}, Agent: []string{"a", "b"}},
		`{"host":["H","other","WS-1"]}`:            {Host: []string{"ws-1", "h", "other"}, Agent: []string{"a"}},
		`{"host":"` + long + `"}`:                  {Host: []string{"ws-1", long[:maxNameBytes]}, Agent: []string{"a"}},
	} {
		d := c.encode(&picket.Event{ID: "1", AgentID: "a", Host: "WS-1", Raw: []byte(raw)}, "1", "b", 1)
		if diff := cmp.Diff(want, d.Names); diff != "" {
			t.Errorf("%.50s: %s", raw, diff)
		}
	}
}
