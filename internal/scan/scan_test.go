package scan_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/scan"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/sigma"
)

// engine has one rule, which matches the word evil in a command line.
func engine(t testing.TB) *detect.Engine {
	t.Helper()
	pack, err := sigma.Parse("evil.yml", []byte("title: Evil\nid: evil\nlogsource: {product: linux, category: process_creation}\n"+
		"detection: {a: {CommandLine|contains: evil}, condition: a}\nlevel: high\n"))
	if err != nil {
		t.Fatal(err)
	}
	set, errs := sigma.Compile(pack, sigma.Options{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return detect.NewEngine(set, nil)
}

func event(id int, command string) string {
	return fmt.Sprintf(`{"agent_id":"a","event_id":"e%d","event_type":"process","timestamp":1764000000,"severity":"info","version":"1.0",`+
		`"host":{"hostname":"h","os":"Linux"},"process":{"name":"/bin/sh","pid":1,"command_line":%q,"user":"u"}}`, id, command)
}

// pretty formats an event over several lines.
func pretty(ev string) string {
	return strings.NewReplacer(`{"`, "{\n  \"", `,"`, ",\n  \"", `}`, "\n}").Replace(ev)
}

// file writes a file to a new directory.
func file(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// result scans files and returns the numbers of the records that matched, and the
// problems.
func result(t testing.TB, paths ...string) (records []int, problems []string, p *scan.Progress) {
	t.Helper()
	p = new(scan.Progress)
	err := scan.Files(t.Context(), engine(t), paths, p, func(m scan.LocatedMatch) error {
		if !bytes.Contains(m.Raw, []byte("evil")) || m.RuleID != "evil" || m.Time.Unix() != 1764000000 {
			t.Errorf("match is %+v", m)
		}
		records = append(records, m.Record)
		return nil
	}, func(err error) { problems = append(problems, strings.TrimPrefix(err.Error(), "read ")) })
	if err != nil {
		t.Fatal(err)
	}
	return records, problems, p
}

// Record numbers do not depend on the form of a file.
func TestJSONForms(t *testing.T) {
	good, evil := event(1, "ls"), event(2, "evil")
	long := event(3, "evil "+strings.Repeat("x", 600<<10))
	for name, text := range map[string]string{
		"lines":              good + "\n" + evil + "\n" + long + "\n" + good + "\n",
		"lines without end":  good + "\n" + evil + "\n" + long + "\n" + good,
		"lines of Windows":   "\xef\xbb\xbf" + good + "\r\n" + evil + "\r\n\r\n" + long + "\r\n" + good,
		"long line first":    strings.Replace(good, "ls", strings.Repeat("y", 600<<10), 1) + "\n" + evil + "\n" + long + "\n" + good,
		"array":              "[" + good + "," + evil + "," + long + "," + good + "]",
		"array of lines":     "\xef\xbb\xbf\n[\n" + good + ",\n" + evil + ",\n" + long + ",\n" + good + "\n]\n",
		"pretty array":       "[" + pretty(good) + "," + pretty(evil) + "," + pretty(long) + "," + pretty(good) + "]",
		"arrays":             "[" + good + "]\n[" + evil + "," + long + "][]\n[" + good + "]",
		"pretty":             pretty(good) + "\n" + pretty(evil) + pretty(long) + "\n\n" + pretty(good),
		"pretty, long first": pretty(strings.Replace(good, "ls", strings.Repeat("y", 600<<10), 1)) + "\n" + evil + pretty(long) + good,
		"on one line":        good + evil + long + " " + good,
	} {
		t.Run(name, func(t *testing.T) {
			records, problems, p := result(t, file(t, "events.json", []byte(text)))
			if diff := cmp.Diff([]int{2, 3}, records); diff != "" || len(problems) > 0 {
				t.Errorf("%s %q", diff, problems)
			}
			if p.Events.Load() != 4 || p.Unreadable.Load() != 0 || p.Bytes.Load() != p.Total.Load() || p.Total.Load() != int64(len(text)) {
				t.Errorf("%d events, %d unreadable, %d of %d bytes", p.Events.Load(), p.Unreadable.Load(), p.Bytes.Load(), p.Total.Load())
			}
		})
	}
}

func TestCompressed(t *testing.T) {
	text := []byte(event(1, "ls") + "\n" + event(2, "evil") + "\n")
	var packed bytes.Buffer
	for range 2 { // a file of two parts, as logs that are appended to are
		z := gzip.NewWriter(&packed)
		z.Write(text)
		z.Close()
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	frame := enc.EncodeAll(text, nil)
	for name, data := range map[string][]byte{
		"a.json.gz": packed.Bytes(), "a.ndjson.zst": append(frame, frame...), "A.JSON.ZSTD": append(frame, frame...),
	} {
		if records, problems, _ := result(t, file(t, name, data)); !cmp.Equal(records, []int{2, 4}) || problems != nil {
			t.Errorf("%s: %v, %q", name, records, problems)
		}
	}
	name := file(t, "cut.json.gz", packed.Bytes()[:packed.Len()-20])
	if records, problems, _ := result(t, name); !cmp.Equal(records, []int{2}) || len(problems) != 1 || !strings.HasPrefix(problems[0], name+": unexpected EOF") {
		t.Errorf("cut short: %v, %q", records, problems)
	}
}

// A malformed record is reported once, in order, and the records behind it are
// read.
func TestMalformedJSON(t *testing.T) {
	evil := event(1, "evil")
	for name, c := range map[string]struct {
		text    string
		records []int
		want    []string
	}{
		"first line":    {"nonsense\n" + evil + "\n", []int{2}, []string{"record 1: line 1 is not an event"}},
		"first object":  {"{\"a\": }\n" + evil + "\n", []int{2}, []string{"record 1: "}},
		"an open brace": {evil + "\n{\"a\":{}\n" + evil, []int{1, 3}, []string{"record 2: "}},
		"a scalar":      {evil + "\n\n7\n" + evil, []int{1, 3}, []string{"record 2: line 3 is not an event"}},
		"in an array":   {"[" + evil + ",7," + evil + "]", []int{1, 3}, []string{"record 2: "}},
		"array cut":     {"[" + evil + ",{\"a\":", []int{1}, []string{"record 2: unexpected EOF"}},
		"array open":    {"[" + evil, []int{1}, []string{"after 1 events: "}},
		"bracket":       {"[" + evil + "]]", []int{1}, []string{"after 1 events: "}},
		"too long": {evil + "\n{\"a\":\"" + strings.Repeat("x", 17<<20) + "\"}\n" + evil, []int{1, 3},
			[]string{"record 2: line 2: an event larger than 16777216 bytes"}},
		"nothing but": {"nonsense\n", nil, []string{"record 1: invalid character"}},
		"empty":       {"", nil, nil},
		"space":       {" \n\n", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			path := file(t, "events.json", []byte(c.text))
			records, problems, p := result(t, path)
			if diff := cmp.Diff(c.records, records); diff != "" {
				t.Error(diff)
			}
			if len(problems) != len(c.want) {
				t.Fatalf("problems are %q", problems)
			}
			for i, want := range c.want {
				if !strings.HasPrefix(problems[i], path+": "+want) {
					t.Errorf("problem is %q, want %q", problems[i], want)
				}
			}
			if p.Events.Load() != int64(len(c.records)) {
				t.Errorf("%d events counted", p.Events.Load())
			}
		})
	}
}

func TestPaths(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"b.ndjson": "evil", "a/c.json": "evil", "a/note.txt": "evil", "d.jsonl": "ls"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(event(1, text)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{dir, dir + "/", link} {
		var files []string
		err := scan.Files(t.Context(), engine(t), []string{root}, new(scan.Progress), func(m scan.LocatedMatch) error {
			files = append(files, m.File)
			return nil
		}, func(err error) { t.Error(err) })
		clean := filepath.Clean(root)
		if diff := cmp.Diff([]string{filepath.Join(clean, "a/c.json"), filepath.Join(clean, "b.ndjson")}, files); diff != "" || err != nil {
			t.Errorf("%s: %v %s", root, err, diff)
		}
	}
	if records, problems, _ := result(t, filepath.Join(dir, "a/note.txt")); !cmp.Equal(records, []int{1}) || problems != nil {
		t.Errorf("a file by its name: %v, %q", records, problems)
	}
	empty, missing := t.TempDir(), filepath.Join(dir, "missing.json")
	records, problems, _ := result(t, missing, empty, filepath.Join(dir, "b.ndjson"))
	want := []string{missing + ": no such file or directory", empty + ": no file in it is of events (.evtx, .json, .ndjson, .jsonl, .xml, .log)"}
	if diff := cmp.Diff(want, problems); diff != "" || !cmp.Equal(records, []int{1}) {
		t.Errorf("%s %v", diff, records)
	}
}

// ReadFiles returns each event in newly allocated bytes, and ends with the error of its
// callback.
func TestReadFiles(t *testing.T) {
	dir := t.TempDir()
	testenv.Check(t, os.WriteFile(filepath.Join(dir, "a.ndjson"), []byte(event(1, "a")+"\nx\n"+event(2, "b")), 0o600))
	testenv.Check(t, os.WriteFile(filepath.Join(dir, "b.json"), []byte("["+event(3, "c")+"]"), 0o600))
	var events []string
	var kept [][]byte
	err := scan.ReadFiles(t.Context(), []string{dir}, new(scan.Progress), func(file string, raw []byte) error {
		events = append(events, filepath.Base(file))
		kept = append(kept, raw)
		return nil
	}, func(err error) { events = append(events, strings.ReplaceAll(err.Error(), dir, "")) })
	testenv.Check(t, err)
	for _, k := range kept {
		events = append(events, string(k))
	}
	if diff := cmp.Diff([]string{"a.ndjson", "read /a.ndjson: record 2: line 2 is not an event", "a.ndjson", "b.json", event(1, "a"), event(2, "b"), event(3, "c")}, events); diff != "" {
		t.Error(diff)
	}
	n := 0
	err = scan.ReadFiles(t.Context(), []string{dir}, new(scan.Progress), func(string, []byte) error { n++; return io.ErrShortWrite }, func(err error) { t.Error(err) })
	if err != io.ErrShortWrite || n != 1 {
		t.Errorf("%d events, then %v", n, err)
	}
}
