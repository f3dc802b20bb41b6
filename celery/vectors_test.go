package celery_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
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
var refused = map[string]string{"pickle": "the body is pickle", "protocol 1": "protocol 1"}

// TestVectorsDecode reads what Python sent, and finds the arguments in it.
func TestVectorsDecode(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Celery+" "+v.Case, func(t *testing.T) {
			if why, no := refused[v.Case]; no {
				task, err := new(celery.Decoder).Decode([]byte(v.Sent[0].Envelope))
				var e *celery.DecodeError
				if !errors.As(err, &e) || !strings.Contains(e.Reason, why) || task == nil || task.ID == "" || task.Name != "t.echo" {
					t.Fatalf("got %+v, %v", task, err)
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
		delete(e, "body") // one may compress better than the other
		return e
	}
	var parts any
	if err := json.Unmarshal(plain(t, body), &parts); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if embed, ok := parts.([]any)[2].(map[string]any); ok && cmp.Equal(embed["chain"], []any{}) {
		embed["chain"] = nil // the same
	}
	e["body"] = parts
	return e
}

// TestVectorsNext runs what Python ran, and sends what Python sent next.
func TestVectorsNext(t *testing.T) {
	for _, v := range vectors(t) {
		if len(v.Next) == 0 {
			continue
		}
		t.Run(v.Celery+" "+v.Case, func(t *testing.T) {
			var got []celery.Task
			var results []json.RawMessage
			var task *celery.Task
			for _, m := range v.Sent {
				task = decode(t, m.Envelope)
				result := stored(t, v, task.ID)
				var next []celery.Task
				var err error
				if result.Status == celery.Success {
					next, err = task.FollowUpTasks(result.Value)
				} else {
					next, err = task.ErrbackTasks()
				}
				if err != nil {
					t.Fatal(err)
				}
				results = append(results, result.Value)
				got = append(got, next...)
			}
			switch {
			case v.Case == "chord fails":
				callback, err := task.ChordCallback(nil)
				if err != nil {
					t.Fatal(err)
				}
				if got, err = callback[0].ErrbackTasks(); err != nil {
					t.Fatal(err)
				}
				got[0].ParentID, got[0].RootID = "", "" // of no use: Celery makes them up
			case task.Chord != nil:
				next, err := task.ChordCallback(results)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, next...)
			}
			if begins := v.Case == "chain to chord"; got[0].ChordSize != map[bool]int{true: 2}[begins] {
				t.Errorf("chord of %d", got[0].ChordSize)
			}
			compareTasks(t, v, got)
		})
	}
}

// compareTasks holds tasks against those that Python sent, in any order and but
// for the IDs that are made up on sending.
func compareTasks(t *testing.T, v vector, got []celery.Task) {
	t.Helper()
	frozen := map[string]bool{}
	for _, m := range v.Sent {
		for _, word := range strings.FieldsFunc(open2(t, m.Envelope), func(r rune) bool { return r == '"' }) {
			frozen[word] = len(word) == 36
		}
	}
	summary := func(task *celery.Task) map[string]any {
		id := func(s string) string {
			if s != "" && !frozen[s] {
				return "fresh"
			}
			return s
		}
		s := map[string]any{
			"id": id(task.ID), "name": task.Name, "args": string(bytes.ReplaceAll(task.Args, []byte(" "), nil)), "kwargs": string(task.Kwargs),
			"root": id(task.RootID), "parent": id(task.ParentID), "group": id(task.GroupID), "index": task.GroupIndex,
			"priority": task.Priority, "chord": newChordSignature(task), "headers": len(task.Headers),
		}
		var chain []string
		for _, step := range task.Chain {
			chain = append(chain, step.Task)
		}
		s["chain"] = chain
		if v.Celery == "5.2.7" {
			delete(s, "index") // which it leaves out
			s["group"] = s["group"] != ""
		}
		if v.Case == "chord fails" {
			delete(s, "root")
			delete(s, "parent")
		}
		return s
	}
	var have, want []map[string]any
	for i := range got {
		have = append(have, summary(decode(t, string(got[i].Append(nil)))))
	}
	for _, m := range v.Next {
		want = append(want, summary(decode(t, m.Envelope)))
	}
	less := func(a, b map[string]any) bool { return a["args"].(string) < b["args"].(string) }
	sortBy(have, less)
	sortBy(want, less)
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("next tasks (-Python +Go):\n%s", diff)
	}
}

// newChordSignature is the callback of a task's chord, as its JSON without what is nothing.
func newChordSignature(task *celery.Task) string {
	if task.Chord == nil {
		return ""
	}
	callback := *task.Chord
	callback.Options = maps.Clone(callback.Options)
	maps.DeleteFunc(callback.Options, func(_ string, value json.RawMessage) bool {
		return string(value) == "null" || string(value) == "[]"
	})
	delete(callback.Options, "group_id")  // which Celery 5.2 leaves out
	delete(callback.Options, "parent_id") // which Celery 5.7 leaves out
	return string(callback.Append(nil))
}

// open2 is an envelope's text together with its body's.
func open2(t *testing.T, envelope string) string {
	t.Helper()
	all, err := json.Marshal(open(t, []byte(envelope)))
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

func sortBy(all []map[string]any, less func(a, b map[string]any) bool) {
	for i := range all {
		for j := i; j > 0 && less(all[j], all[j-1]); j-- {
			all[j], all[j-1] = all[j-1], all[j]
		}
	}
}

func stored(t *testing.T, v vector, id string) *celery.Result {
	t.Helper()
	r, err := celery.DecodeResult([]byte(v.Results[(celery.Keys{}).Result(id)]))
	if err != nil {
		t.Fatalf("result of %s: %v", id, err)
	}
	return r
}

// TestVectorsResults writes the results again, byte for byte.
func TestVectorsResults(t *testing.T) {
	n := 0
	for _, v := range vectors(t) {
		for _, want := range v.Results {
			r, err := celery.DecodeResult([]byte(want))
			if err != nil {
				t.Fatalf("%s: %v", want, err)
			}
			if v.Celery == "5.2.7" && !r.Done.IsZero() { // without a zone
				want = regexp.MustCompile(`("date_done": "[^"]*)"`).ReplaceAllString(want, `$1+00:00"`)
			}
			if diff := cmp.Diff(want, string(r.Append(nil))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", v.Case, diff)
			}
			n++
		}
	}
	if n < 60 {
		t.Errorf("only %d results", n)
	}
}

// TestVectorsOrphans finds the tasks of a chain that failed, as Celery did.
func TestVectorsOrphans(t *testing.T) {
	for _, v := range vectors(t) {
		if v.Case != "chain fails" {
			continue
		}
		failed := decode(t, v.Sent[0].Envelope)
		ids := []string{failed.ID}
		for _, orphan := range failed.AbortedChain() {
			ids = append(ids, orphan.ID)
		}
		if len(ids) != 3 || len(v.Results) != 3 {
			t.Fatalf("%s: %d tasks failed, %d results", v.Celery, len(ids), len(v.Results))
		}
		for _, id := range ids {
			if r := stored(t, v, id); r.Status != celery.Failure || r.Exception.String() != "ValueError('bad event', 7)" {
				t.Errorf("%s: %s: %+v", v.Celery, id, r)
			}
		}
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
