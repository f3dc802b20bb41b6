package scan

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/picket-edr/picket/internal/testenv"
)

// However the bytes of an input are cut into reads, its values are the same.
func TestJSONValuesInParts(t *testing.T) {
	values := []string{`{"a":"\\"}`, `{"b":"\"}{\\\"","c":[1,{"d":"]"}]}`, `7`, `"x"`, `{}`}
	text := " [" + strings.Join(values, " ,\n") + "]\n" + values[1] + values[0]
	want := append(slices.Clone(values), values[1], values[0])
	for name, r := range map[string]io.Reader{"whole": strings.NewReader(text), "bytes": iotest.OneByteReader(strings.NewReader(text))} {
		var got []string
		err := readJSONValues(bufio.NewReader(r), &eventCallbacks{onEvent: func(_ string, raw []byte) error { got = append(got, strings.TrimSpace(string(raw))); return nil }})
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
}

// A valid array has the values that encoding/json finds in it, and whatever the bytes,
// reading ends and takes memory in proportion.
func FuzzJSONValues(f *testing.F) {
	for _, text := range []string{`[{"a":"\\"},7,"x"]`, `{"a":1}{"b":[2]}`, `[{"a":"\"]"}`, `{"a":]`, "[[],{}]", `[1,2`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var got []string
		var err error
		testenv.CheckAllocated(t, 1<<20+64*len(text), func() {
			err = readJSONValues(bufio.NewReader(bytes.NewReader(text)), &eventCallbacks{onEvent: func(_ string, raw []byte) error { got = append(got, string(bytes.TrimSpace(raw))); return nil }})
		})
		var values []json.RawMessage
		if json.Unmarshal(text, &values) != nil || values == nil {
			return
		}
		var want []string
		for _, v := range values {
			want = append(want, string(v))
		}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v %s", err, diff)
		}
	})
}
