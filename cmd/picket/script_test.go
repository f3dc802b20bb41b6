package main

import (
	"archive/zip"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/store/mongostore/mongotest"
	"github.com/picket-edr/picket/internal/testenv"
)

// TestScript runs the scripts in testdata/script, which run picket as users do.
// Besides the commands of testscript they have
//
//	serve ARG...             start picket serve on a free port with --data data, set
//	                         $URL and $ADDR; it runs until the script or stopserver ends it
//	stopserver               send SIGTERM; the server must exit with status 0
//	token NAME ARG...        create a token and set $NAME to it
//	http METHOD PATH [FILE]  send a request to $URL with $TOKEN; print status and body
//	poll REGEXP PATH         repeat a GET until the response matches
//	keys FILE KEY,...        check that each line of a file is a JSON object with exactly these keys
//	value FILE KEY NAME      set $NAME to a value of the JSON object in a file
//	zstd FROM TO             compress a file
//	zip DIR TO               archive a directory
//	damage FILE FROM BYTES   overwrite bytes of a file with zeros; FROM below 0 counts from its end
//	mongo NAME               start a MongoDB and set $NAME to the URI of a new database
//	redis NAME               start Redis and set $NAME to its URL
//
// and the conditions [mongo], there is a MongoDB, and [redis], there is redis-server.
func TestScript(t *testing.T) {
	t.Parallel()
	st := &scriptServers{servers: make(map[string]*process)}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("GORACE", os.Getenv("GORACE"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": st.serve, "stopserver": st.stop, "token": scriptToken, "http": scriptHTTP, "poll": scriptPoll,
			"keys": scriptKeys, "value": scriptValue, "zstd": scriptZstd,
			"zip": scriptZip, "damage": scriptDamage,
			"mongo": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Setenv(args[0], mongotest.Start(t).Database(t))
			},
			"redis": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Setenv(args[0], redistest.Start(t).URL())
			},
		},
		Condition: func(name string) (bool, error) {
			var err error
			switch name {
			case "mongo":
				err = mongotest.CheckAvailable()
			case "redis":
				_, err = exec.LookPath(cmp.Or(os.Getenv("PICKET_TEST_REDIS_SERVER"), "redis-server"))
			default:
				return false, fmt.Errorf("no condition is called %s", name)
			}
			if err != nil && os.Getenv("PICKET_TEST_REQUIRE") != "" {
				return false, err
			}
			return err == nil, nil
		},
	})
}

// scriptServers has the running servers of all scripts.
type scriptServers struct {
	mu      sync.Mutex
	servers map[string]*process // by the script's directory
}

func (st *scriptServers) serve(ts *testscript.TestScript, _ bool, args []string) {
	p, err := startServer(ts.MkAbs("."), "127.0.0.1:0", nil, append([]string{"--data", "data"}, args...)...)
	ts.Check(err)
	ts.Defer(func() {
		p.kill()
		ts.Logf("the server's log:\n%s", p.stderr.String())
	})
	st.mu.Lock()
	st.servers[ts.Getenv("WORK")] = p
	st.mu.Unlock()
	ts.Setenv("URL", p.url)
	ts.Setenv("ADDR", strings.TrimPrefix(p.url, "http://"))
}

func (st *scriptServers) stop(ts *testscript.TestScript, _ bool, _ []string) {
	st.mu.Lock()
	p := st.servers[ts.Getenv("WORK")]
	st.mu.Unlock()
	ts.Check(p.stop())
}

func scriptToken(ts *testscript.TestScript, _ bool, args []string) {
	cmd := exec.Command("picket", append([]string{"token", "create", "--data", "data"}, args[1:]...)...)
	cmd.Dir = ts.MkAbs(".")
	out, err := cmd.Output()
	ts.Check(err)
	ts.Setenv(args[0], strings.TrimSpace(string(out)))
}

func scriptHTTP(ts *testscript.TestScript, _ bool, args []string) {
	var body []byte
	if len(args) > 2 {
		body = []byte(ts.ReadFile(args[2]))
	}
	answer, err := scriptRequest(ts, args[0], args[1], body)
	ts.Check(err)
	io.WriteString(ts.Stdout(), answer)
}

// scriptRequest returns the status and body of a response.
func scriptRequest(ts *testscript.TestScript, method, path string, body []byte) (string, error) {
	req, err := http.NewRequest(method, ts.Getenv("URL")+path, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token := ts.Getenv("TOKEN"); token != "" {
		req.Header.Set("Authorization", "Token "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return fmt.Sprintf("%d\n%s\n", resp.StatusCode, answer), err
}

func scriptPoll(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.MustCompile("(?m)" + args[0])
	for deadline := time.Now().Add(testenv.Timeout); ; time.Sleep(20 * time.Millisecond) {
		answer, err := scriptRequest(ts, http.MethodGet, args[1], nil)
		ts.Check(err)
		if want.MatchString(answer) {
			io.WriteString(ts.Stdout(), answer)
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no response matches %s; the last is\n%s", args[0], answer)
		}
	}
}

func scriptKeys(ts *testscript.TestScript, _ bool, args []string) {
	want := strings.Split(args[1], ",")
	slices.Sort(want)
	lines := 0
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		var object map[string]json.RawMessage
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			ts.Fatalf("%q: %v", line, err)
		}
		if got := slices.Sorted(maps.Keys(object)); !slices.Equal(got, want) {
			ts.Fatalf("keys are %v, not %v", got, want)
		}
		lines++
	}
	if lines == 0 {
		ts.Fatalf("%s is empty", args[0])
	}
}

func scriptValue(ts *testscript.TestScript, _ bool, args []string) {
	var object map[string]any
	ts.Check(json.NewDecoder(strings.NewReader(ts.ReadFile(args[0]))).Decode(&object))
	v, ok := object[args[1]]
	if !ok {
		ts.Fatalf("no %s in %v", args[1], object)
	}
	ts.Setenv(args[2], fmt.Sprint(v))
}

func scriptZstd(ts *testscript.TestScript, _ bool, args []string) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), enc.EncodeAll([]byte(ts.ReadFile(args[0])), nil), 0o600))
}

func scriptDamage(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	from, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	if from < 0 {
		size, err := f.Seek(0, io.SeekEnd)
		ts.Check(err)
		from += size
	}
	_, err = f.WriteAt(make([]byte, n), from)
	ts.Check(err)
}

func scriptZip(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.Create(ts.MkAbs(args[1]))
	ts.Check(err)
	z := zip.NewWriter(f)
	ts.Check(z.AddFS(os.DirFS(ts.MkAbs(args[0]))))
	ts.Check(z.Close())
	ts.Check(f.Close())
}
