package ingest

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// FuzzSplit: the splitter, fed in pieces of any size, finds in an array what
// encoding/json finds, and in lines the lines. Of an event past the limit it keeps the
// start and knows the size.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{`[]`, `[1,"a,]\"b",{"a":[1,{}]},null]`, ` [ {"a":"\\"} , [1] ] `, `[[`, `[1 2]`, `[,1]`, "{}\n\n{\"a\":1}\n", `{}{}`, `["\`} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, body []byte, step int) {
		if step <= 0 {
			step = 1
		}
		split := func(lines bool, maxEventBytes int) (events []string, sizes []int, err error) {
			s := eventSplitter{maxEventBytes: maxEventBytes, maxEvents: 1 << 20, lines: lines, start: -1}
			var kept []byte
			for piece := range slices.Chunk(body, step) {
				if kept, err = s.scanAndCut(append(kept, piece...)); err != nil {
					return nil, nil, err
				}
				if most := maxEventBytes + step; s.start >= 0 && len(kept)-s.start > most {
					t.Fatalf("%d bytes of an event are kept", len(kept)-s.start)
				}
			}
			err = s.finish(kept)
			for _, sp := range s.spans {
				events, sizes = append(events, string(kept[sp.start:sp.end])), append(sizes, sp.size)
			}
			return events, sizes, err
		}
		var want []json.RawMessage
		if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '[' && json.Unmarshal(body, &want) == nil {
			for _, maxEventBytes := range []int{1 << 20, 5} {
				events, sizes, err := split(false, maxEventBytes)
				if maxEventBytes == 5 && err != nil && strings.Contains(err.Error(), "white space") {
					continue
				}
				if err != nil || len(events) != len(want) {
					t.Fatalf("%q: %d values, %v, want %d", body, len(events), err, len(want))
				}
				for i, event := range events {
					whole := strings.TrimSpace(event) == string(want[i])
					cut := sizes[i] > maxEventBytes && len(event) == maxEventBytes && (strings.HasPrefix(string(want[i]), strings.TrimSpace(event)) && sizes[i] >= len(want[i]))
					if !whole && !cut {
						t.Errorf("value %d of %q is %q of %d bytes, want %q", i, body, event, sizes[i], want[i])
					}
				}
			}
		}
		events, _, err := split(true, 1<<20)
		n := 0
		for line := range bytes.Lines(body) {
			if text := bytes.TrimSpace(line); len(text) > 0 {
				if err == nil && events[n] != string(text) {
					t.Fatalf("line %d of %q", n, body)
				}
				n++
			}
		}
		if err == nil && n != len(events) || err != nil && n > 0 {
			t.Errorf("%d lines in %q: %v", n, body, err)
		}
	})
}

// FuzzSniff: the sniffer decides the same however the body arrives, and as soon as the
// first line is complete and more follows.
func FuzzSniff(f *testing.F) {
	for _, s := range []string{"{}", "{}\n", "{}\n{}", " \n{}\n\n {", "{\n\"a\":1}", "[\n{}", "{\"a\n\":1}\n{}", ""} {
		f.Add([]byte(s), 1)
	}
	f.Fuzz(func(t *testing.T, body []byte, step int) {
		var whole, grown lineSniffer
		lines, undecided := whole.sniff(body)
		for n := range body {
			if step > 0 && n%step != 0 {
				continue
			}
			if l, u := grown.sniff(body[:n]); !u {
				if l != lines || undecided {
					t.Fatalf("%q: %v after %d bytes; %v, undecided %v after all", body, l, n, lines, undecided)
				}
				return
			}
		}
		if l, u := grown.sniff(body); l != lines || u != undecided {
			t.Fatalf("%q: %v, %v in pieces; %v, %v at once", body, l, u, lines, undecided)
		}
	})
}
