package celery_test

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/picket-edr/picket/celery"
)

// A vector is a line of testdata/python-*.ndjson, which vectors.py explains.
type vector struct {
	Case    string
	Celery  string
	Sent    []message
	Next    []message
	Results map[string]string
	Args    json.RawMessage
	Kwargs  json.RawMessage
}

type message struct{ List, Envelope string }

// vectors are all cases of all versions of Celery that they were made with.
func vectors(t testing.TB) []vector {
	t.Helper()
	files, err := filepath.Glob("testdata/python-*.ndjson")
	if err != nil || len(files) < 3 {
		t.Fatalf("vectors: %v, %v", files, err)
	}
	var all []vector
	for _, file := range files {
		for _, line := range lines(t, file) {
			var v vector
			if err := json.Unmarshal(line, &v); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			all = append(all, v)
		}
	}
	return all
}

func lines(t testing.TB, file string) [][]byte {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all [][]byte
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		all = append(all, bytes.Clone(s.Bytes()))
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func decode(t testing.TB, envelope string) *celery.Task {
	t.Helper()
	task, err := new(celery.Decoder).Decode([]byte(envelope))
	if err != nil {
		t.Fatalf("Decode(%s): %v", envelope, err)
	}
	return task
}

// refused are the cases that no worker in Go can read.
var refused = map[string]string{"pickle": "the body is pickle", "protocol 1": "protocol 2: its headers name none"}

// TestVectorsDecode reads what Python sent, and finds the arguments in it.
func TestVectorsDecode(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Celery+" "+v.Case, func(t *testing.T) {
			if why, no := refused[v.Case]; no {
				task, err := new(celery.Decoder).Decode([]byte(v.Sent[0].Envelope))
				var e *celery.DecodeError
				if !errors.As(err, &e) || !strings.Contains(e.Reason, why) {
					t.Fatalf("got %+v, %v", task, err)
				}
				if v.Case != "protocol 1" && (task == nil || task.ID == "" || task.Name != "t.echo") {
					t.Errorf("the headers are read as %+v", task)
				}
				return
			}
			task := decode(t, v.Sent[0].Envelope)
			if got := (celery.Keys{}).List("celery", task.Priority); got != v.Sent[0].List {
				t.Errorf("list %q, want %q", got, v.Sent[0].List)
			}
			sameJSON(t, "args", plain(t, task.Args), v.Args)
			sameJSON(t, "kwargs", plain(t, task.Kwargs), v.Kwargs)
		})
	}
}

// TestVectorsAppend writes again what was read, and finds nothing lost.
func TestVectorsAppend(t *testing.T) {
	for _, v := range vectors(t) {
		if _, no := refused[v.Case]; no || v.Case == "bzip2" {
			continue
		}
		t.Run(v.Celery+" "+v.Case, func(t *testing.T) {
			for _, m := range append(v.Sent, v.Next...) {
				want := open(t, []byte(m.Envelope))
				got := open(t, decode(t, m.Envelope).Append(nil))
				// Time passes, zones may differ, and Celery 5.2 knew fewer headers.
				sameTime(t, want, got)
				delete(want["properties"].(map[string]any), "expiration")
				delete(got["properties"].(map[string]any), "expiration")
				for name, value := range got["headers"].(map[string]any) {
					if _, old := want["headers"].(map[string]any)[name]; !old && v.Celery == "5.2.7" {
						t.Logf("%s = %v is new", name, value)
						delete(got["headers"].(map[string]any), name)
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("Append (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// sameTime compares the ETAs, and takes them out.
func sameTime(t *testing.T, want, got map[string]any) {
	t.Helper()
	w, g := want["headers"].(map[string]any), got["headers"].(map[string]any)
	if s, ok := w["eta"].(string); ok {
		if !strings.ContainsAny(s[11:], "+-") {
			s += "+00:00"
		}
		at, err := time.Parse(time.RFC3339, s)
		if again, err2 := time.Parse(time.RFC3339, g["eta"].(string)); err != nil || err2 != nil || !again.Equal(at) {
			t.Errorf("eta %v, want %v (%v, %v)", again, at, err, err2)
		}
		g["eta"] = w["eta"]
	}
}

// open is an envelope as encoding/json sees it, its body opened too.
func open(t *testing.T, envelope []byte) map[string]any {
	t.Helper()
	var e map[string]any
	if err := json.Unmarshal(envelope, &e); err != nil {
		t.Fatalf("%v in %s", err, envelope)
	}
	body, err := base64.StdEncoding.DecodeString(e["body"].(string))
	if err != nil {
		t.Fatal(err)
	}
	if e["headers"].(map[string]any)["compression"] != nil {
		delete(e["headers"].(map[string]any), "compression") // which is not written
		z, err := zlib.NewReader(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	var parts any
	if err := json.Unmarshal(plain(t, body), &parts); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	e["body"] = parts
	return e
}

// followed are the cases of tasks after which others are to run, with the kinds of those.
var followed = map[string]string{
	"link": "callbacks", "links": "callbacks", "link error": "errbacks", "link errors": "errbacks", "link group": "callbacks",
	"chain": "chain", "chain fails": "errbacks chain", "chain of chains": "callbacks", "stamped": "chain", "chain to group": "chain", "chain to chord": "chain",
	"chord": "chord", "chord to chain": "chord", "chord fails": "chord",
}

// TestVectorsFollowUps finds in what Python sent whether other tasks are to follow.
func TestVectorsFollowUps(t *testing.T) {
	for _, v := range vectors(t) {
		if _, no := refused[v.Case]; no {
			continue
		}
		for _, m := range v.Sent {
			if got := strings.Join(decode(t, m.Envelope).FollowUps(), " "); got != followed[v.Case] {
				t.Errorf("%s %s has %q, want %q", v.Celery, v.Case, got, followed[v.Case])
			}
		}
	}
}

// TestVectorsResults writes the results again, byte for byte, except those of tasks
// that have sent others. NaN becomes a string.
func TestVectorsResults(t *testing.T) {
	n := 0
	for _, v := range vectors(t) {
		for _, want := range v.Results {
			if !strings.Contains(want, `"children": []`) {
				continue
			}
			want = string(plain(t, []byte(want)))
			r := pythonResult(t, []byte(want))
			if v.Celery == "5.2.7" && !r.Done.IsZero() { // without a zone
				want = regexp.MustCompile(`("date_done": "[^"]*)"`).ReplaceAllString(want, `$1+00:00"`)
			}
			if diff := cmp.Diff(want, string(r.Append(nil))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", v.Case, diff)
			}
			n++
		}
	}
	if n < 40 {
		t.Errorf("only %d results", n)
	}
}

func plain(t *testing.T, src []byte) []byte {
	t.Helper()
	b, err := celery.NormalizeJSON(nil, src)
	if err != nil {
		t.Fatalf("Plain(%s): %v", src, err)
	}
	return b
}

func sameJSON(t *testing.T, what string, got, want []byte) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatalf("%s: %v in %s", what, err, got)
	}
	if err := json.Unmarshal(want, &w); err != nil {
		t.Fatalf("%s: %v in %s", what, err, want)
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
