package ingest

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzSplit: the splitter, fed in pieces of any size, finds in an array what
// encoding/json finds, and in lines the lines.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{`[]`, `[1,"a,]\"b",{"a":[1,{}]},null]`, ` [ {"a":"\\"} , [1] ] `, `[[`, `[1 2]`, `[,1]`, "{}\n\n{\"a\":1}\n", `{}{}`, `["\`} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, body []byte, step int) {
		if step <= 0 {
			step = 1
		}
		split := func(lines bool) ([]eventSpan, error) {
			s := eventSplitter{maxEventBytes: 1 << 20, maxEvents: 1 << 20, lines: lines, start: -1}
			for n := 0; n < len(body); n += step {
				if err := s.scan(body[:n]); err != nil {
					return nil, err
				}
			}
			if err := s.scan(body); err != nil {
				return nil, err
			}
			return s.spans, s.finish(body)
		}
		var want []json.RawMessage
		if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '[' && json.Unmarshal(body, &want) == nil {
			spans, err := split(false)
			if err != nil || len(spans) != len(want) {
				t.Fatalf("%q: %d values, %v, want %d", body, len(spans), err, len(want))
			}
			for i, sp := range spans {
				if got := bytes.TrimSpace(body[sp.start:sp.end]); !bytes.Equal(got, want[i]) {
					t.Errorf("value %d of %q is %q, want %q", i, body, got, want[i])
				}
			}
		}
		spans, err := split(true)
		n := 0
		for line := range bytes.Lines(body) {
			if text := bytes.TrimSpace(line); len(text) > 0 {
				if err == nil && !bytes.Equal(body[spans[n].start:spans[n].end], text) {
					t.Fatalf("line %d of %q", n, body)
				}
				n++
			}
		}
		if err == nil && n != len(spans) || err != nil && n > 0 {
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
