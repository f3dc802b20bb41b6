package agent_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/picket-edr/picket/internal/agent"
	"github.com/picket-edr/picket/internal/scan"
	"github.com/picket-edr/picket/internal/testenv"
)

func replay(t *testing.T, r *agent.ReplaySource) (events []string, err error) {
	t.Helper()
	for e, e2 := range r.Events(t.Context(), "") {
		if e2 != nil {
			return events, e2
		}
		events = append(events, string(e.Data))
	}
	return events, nil
}

func file(t *testing.T, name, content string) string {
	t.Helper()
	var b bytes.Buffer
	switch filepath.Ext(name) {
	case ".gz":
		z := gzip.NewWriter(&b)
		z.Write([]byte(content))
		testenv.Check(t, z.Close())
	case ".zst":
		z, err := zstd.NewWriter(&b)
		testenv.Check(t, err)
		z.Write([]byte(content))
		testenv.Check(t, z.Close())
	default:
		b.WriteString(content)
	}
	path := filepath.Join(t.TempDir(), name)
	testenv.Check(t, os.WriteFile(path, b.Bytes(), 0o600))
	return path
}

func TestReplayFormats(t *testing.T) {
	want := []string{`{"event_id": "a"}`, `{"event_id":"b","c":[2]}`}
	for name, content := range map[string]string{
		"array.json":      "\ufeff [ {\"event_id\": \"a\"},\n{\"event_id\":\"b\",\"c\":[2]} ]\n",
		"lines.ndjson":    "{\"event_id\": \"a\"}\n{\"event_id\":\"b\",\"c\":[2]}\n",
		"lines.ndjson.gz": "{\"event_id\": \"a\"}\n{\"event_id\":\"b\",\"c\":[2]}\n",
		"array.json.zst":  "[{\"event_id\": \"a\"},{\"event_id\":\"b\",\"c\":[2]}]",
		"values.json":     "{\"event_id\": \"a\"}{\"event_id\":\"b\",\"c\":[2]}",
	} {
		got, err := replay(t, &agent.ReplaySource{ReadFile: scan.ReadFile, Path: file(t, name, content)})
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: error %v, events (-want +got):\n%s", name, err, diff)
		}
	}
	if got, err := replay(t, &agent.ReplaySource{ReadFile: scan.ReadFile, Path: file(t, "empty.json", " \n"), Loops: 3}); len(got) != 0 || err != nil {
		t.Errorf("empty file: %q, %v", got, err)
	}
	got, err := replay(t, &agent.ReplaySource{ReadFile: scan.ReadFile, Path: file(t, "cut.json", `[{"a":1},`), Loops: -1})
	if _, unreadable := errors.AsType[*agent.UnreadableEventError](err); len(got) != 1 || err == nil || unreadable {
		t.Errorf("cut file: %q, %v", got, err)
	}
	if _, err := replay(t, &agent.ReplaySource{ReadFile: scan.ReadFile, Path: "no-such-file"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v of a file that is not there", err)
	}
}

// Events that cannot be read are skipped, and the others keep their ids when they are
// repaired.
func TestReplayUnreadable(t *testing.T) {
	read := func(lines ...string) (events []string, unreadable int) {
		r := &agent.ReplaySource{ReadFile: scan.ReadFile, Path: file(t, "x.ndjson", strings.Join(lines, "\n"))}
		for e, err := range r.Events(t.Context(), "") {
			if _, is := errors.AsType[*agent.UnreadableEventError](err); is {
				unreadable++
			} else {
				testenv.Check(t, err)
				events = append(events, string(e.Data))
			}
		}
		return events, unreadable
	}
	repaired, none := read(`{"n":1}`, `{"n":2}`, `{"n":3}`, `{"n":4}`)
	got, unreadable := read(`{"n":1}`, `BROKEN LINE`, `{"n":`, `{"n":4}`)
	if diff := cmp.Diff([]string{repaired[0], repaired[3]}, got); diff != "" || unreadable != 2 || none != 0 {
		t.Errorf("%d unreadable (-want +got):\n%s", unreadable, diff)
	}
}

// An event without an id gets one derived from its content and position, the same
// each time. The event is otherwise unchanged.
func TestReplayIDs(t *testing.T) {
	path := file(t, "x.ndjson", "{\"n\":1}\n{\"n\":1}\n")
	first, err := replay(t, &agent.ReplaySource{ReadFile: scan.ReadFile, Path: path})
	testenv.Check(t, err)
	again, err := replay(t, &agent.ReplaySource{ReadFile: scan.ReadFile, Path: path})
	testenv.Check(t, err)
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("another time, others (-first +again):\n%s", diff)
	}
	if len(first) != 2 || first[0] == first[1] || !strings.HasPrefix(first[0], `{"event_id":"`) || !strings.HasSuffix(first[0], `","n":1}`) {
		t.Errorf("events %q", first)
	}
}

// Each loop has ids of its own.
func TestReplayLoops(t *testing.T) {
	path := file(t, "x.ndjson", `{"event_id":"a","n":1}
{"n":2}
{ }
{"event_id":4688,"n":3}
`)
	got, err := replay(t, &agent.ReplaySource{ReadFile: scan.ReadFile, Path: path, Loops: 3})
	testenv.Check(t, err)
	if len(got) != 12 {
		t.Fatalf("%d events", len(got))
	}
	seen := map[string]bool{}
	for i, raw := range got {
		var e map[string]any
		if err := json.Unmarshal([]byte(raw), &e); err != nil {
			t.Fatalf("event %d: %v: %s", i, err, raw)
		}
		if seen[raw] {
			t.Errorf("event %d comes twice: %s", i, raw)
		}
		seen[raw] = true
		if i == 4 && e["event_id"] != "a-1" || i == 8 && e["event_id"] != "a-2" {
			t.Errorf("event %d is %s", i, raw)
		}
		if i%4 == 3 && e["event_id"] != 4688.0 {
			t.Errorf("event %d is %s", i, raw)
		}
	}
}

func TestReplayPace(t *testing.T) {
	path := file(t, "x.ndjson", `{"@timestamp":"2024-01-01T00:00:00Z"}
{"timestamp":1704067201.5}
{"UtcTime":"2024-01-01 00:00:03.000"}
{"no":"time"}
{"time":1704067202000}
`)
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		r := &agent.ReplaySource{ReadFile: scan.ReadFile, Path: path, Speed: 2}
		for _, err := range r.Events(t.Context(), "") {
			testenv.Check(t, err)
			at = append(at, time.Since(start))
		}
		want := []time.Duration{0, 750 * time.Millisecond, 1500 * time.Millisecond, 1500 * time.Millisecond, 1500 * time.Millisecond}
		if diff := cmp.Diff(want, at); diff != "" {
			t.Errorf("times (-want +got):\n%s", diff)
		}
	})
}

func TestReplayStops(t *testing.T) {
	path := file(t, "x.ndjson", `{"a":1}`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for range (&agent.ReplaySource{ReadFile: scan.ReadFile, Path: path, Loops: -1}).Events(ctx, "") {
		if n++; n == 100 {
			cancel()
		}
	}
	if n != 100 {
		t.Errorf("%d events, want 100", n)
	}
}
