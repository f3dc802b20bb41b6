package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/redisqueue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/redistest"
	"github.com/picket-edr/picket/internal/testenv"
)

// maxResident is the memory that a server may take. maxMapped bounds it meanwhile, so that
// a server that would take all memory of the machine ends before; it is more, because it
// counts memory that was returned, too.
const (
	maxResident = 400 << 20
	maxMapped   = 1 << 30
)

// hostileEvents are events that take much more memory than their bytes. Earlier versions
// accepted all of them.
func hostileEvents() map[string][]string {
	var members strings.Builder
	for i := range 7600 {
		fmt.Fprintf(&members, `"%d":1,`, i)
	}
	numbers := func(n int) string { return strings.Repeat("1,", n) + "1" }
	repeat := func(n int, event string) []string {
		events := make([]string, n)
		for i := range events {
			events[i] = strings.Replace(event, "{", fmt.Sprintf(`{"event_type":"type%d",`, i), 1)
		}
		return events
	}
	logon := `{"Channel":"Security","EventID":4625,"Provider_Name":"Microsoft-Windows-Security-Auditing","Computer":"h","LogonType":3,` +
		`"IpAddress":"10.0.0.1","TargetUserName":"` + strings.Repeat("u", 1_000_000) + `"}`
	words := `whoami /all mimikatz sekurlsa::logonpasswords powershell -enc -nop -w hidden IEX DownloadString certutil -urlcache -f ` +
		`vssadmin delete shadows wevtutil cl Security schtasks /create net user /add reg add HKLM\\Software\\Microsoft\\Windows\\CurrentVersion\\Run ` +
		`rundll32 comsvcs.dll MiniDump lsass bitsadmin /transfer mshta http curl | sh base64 -d /etc/shadow nc -e /bin/sh chmod u+s /dev/tcp/ `
	var commandLines []string
	for i := range 60 {
		commandLines = append(commandLines, fmt.Sprintf(`{"event_type":"process_creation","os":"windows","Image":"C:\\Windows\\powershell.exe","CommandLine":"%s%d"}`,
			strings.Repeat(words, 780_000/len(words)), i))
	}
	return map[string][]string{
		"long command lines":              commandLines,
		"one long name with many members": repeat(1, `{"`+strings.Repeat("k", 64<<10)+`":{`+members.String()+`"a":1}}`),
		"many numbers":                    repeat(60, `{"a":[`+numbers(499_000)+`]}`),
		"fewer numbers":                   repeat(9000, `{"a":[`+numbers(3100)+`]}`),
		"text of many fields":             repeat(60, `{"message":"type=SYSCALL msg=audit(1700000000.123:456): `+strings.Repeat("a=b ", 200_000)+`"}`),
		"long names of users":             repeat(60, logon),
	}
}

// skipUnderRace skips a test that measures the memory of a server, of which the race
// detector takes several times as much. make check runs it without the detector.
func skipUnderRace(t *testing.T) {
	t.Helper()
	if testenv.Race {
		t.Skip("memory is measured without the race detector: make test-bounds")
	}
}

// limitMemory gives a process maxMapped.
func limitMemory(t *testing.T, p *process) {
	t.Helper()
	limit := unix.Rlimit{Cur: maxMapped, Max: maxMapped}
	testenv.Check(t, unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_DATA, &limit, nil))
}

var peakLine = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// checkMemory checks that a process lives and how much memory it has had at most.
func checkMemory(t *testing.T, p *process) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	testenv.Check(t, err)
	m := peakLine.FindSubmatch(status)
	if m == nil {
		t.Fatalf("process has ended: %.2000s", p.stderr.String())
	}
	kb, _ := strconv.Atoi(string(m[1]))
	t.Logf("%d MiB resident at most", kb>>10)
	if kb<<10 > maxResident {
		t.Errorf("%d MiB resident", kb>>10)
	}
}

// waitForWorkers waits until nothing is queued.
func (c *testCluster) waitForWorkers() {
	c.t.Helper()
	testenv.Until(c.t, "the queue is empty", func() bool {
		var s struct{ Pending, Leased int }
		out := c.run("queue", "stats", "--data", ".", "--json")
		testenv.Check(c.t, json.Unmarshal([]byte(out), &s))
		select {
		case <-c.server.exited:
			c.t.Fatalf("server has ended: %v: %.4000s", c.server.err, c.server.stderr.String())
		default:
		}
		return s.Pending+s.Leased == 0
	})
}

// Requests of events that take much more memory than their bytes are answered, and the
// server lives, within maxResident, also after a restart.
func TestHostileRequests(t *testing.T) {
	skipUnderRace(t)
	t.Parallel()
	for name, events := range hostileEvents() {
		t.Run(name, func(t *testing.T) {
			newTestCluster(t, "--workers", "2").checkHostileRequest(events)
		})
		t.Run("redis/"+name, func(t *testing.T) {
			c := newTestCluster(t, "--workers", "2")
			c.env = []string{"PICKET_QUEUE=" + redistest.Start(t).URL()}
			c.checkHostileRequest(events)
		})
	}
}

// checkHostileRequest checks that a server answers a request of events and works them
// within maxResident.
func (c *testCluster) checkHostileRequest(events []string) {
	t := c.t
	p := c.startServer()
	limitMemory(t, p)
	token := c.createToken("--agent", "a1")
	var body bytes.Buffer
	z := gzip.NewWriter(&body)
	fmt.Fprintf(z, "[%s]", strings.Join(events, ","))
	testenv.Check(t, z.Close())
	req, err := http.NewRequest("POST", c.url()+"/api/v1/telemetry/", &body)
	testenv.Check(t, err)
	req.Header = http.Header{"Authorization": {"Token " + token}, "Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}
	resp, err := http.DefaultClient.Do(req)
	testenv.Check(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated && (resp.StatusCode < 400 || resp.StatusCode >= 500) {
		t.Errorf("answered %s: %.4000s", resp.Status, p.stderr.String())
	}
	c.waitForWorkers()
	checkMemory(t, p)
	testenv.Check(t, p.stop())
	p = c.startServer()
	limitMemory(t, p)
	c.waitForWorkers()
	checkMemory(t, p)
}

// Batches that an earlier version put on the queue do not kill the workers: their events
// are stored or become dead letters.
func TestPoisonedQueue(t *testing.T) {
	skipUnderRace(t)
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		c := newTestCluster(t, "--workers", "2")
		testenv.Check(t, c.startServer().stop()) // makes the store, without which it refuses a queue
		q, err := sqlitequeue.Open(filepath.Join(c.data, "queue.db"), sqlitequeue.Options{})
		testenv.Check(t, err)
		enqueueHostile(t, q)
		testenv.Check(t, q.Close())
		c.checkPoisoned()
	})
	t.Run("redis and a worker process", func(t *testing.T) {
		redis := redistest.Start(t)
		c := newTestCluster(t, "--workers", "0")
		c.env = []string{"PICKET_QUEUE=" + redis.URL()}
		q, err := redisqueue.Open(t.Context(), redis.URL(), redisqueue.Options{})
		testenv.Check(t, err)
		enqueueHostile(t, q)
		testenv.Check(t, q.Close())
		w := c.startWorker(c.data, "--data", ".")
		limitMemory(t, w)
		c.checkPoisoned()
		checkMemory(t, w)
	})
}

// enqueueHostile puts a batch of each kind of hostile events on a queue.
func enqueueHostile(t *testing.T, q queue.Queue) {
	t.Helper()
	for name, raws := range hostileEvents() {
		b := picket.Batch{ID: strings.ReplaceAll(name, " ", "-"), Received: time.Now().UTC().Truncate(time.Microsecond)}
		for i, raw := range raws {
			b.Events = append(b.Events, picket.Event{ID: fmt.Sprint(b.ID, i), AgentID: "a1", Host: "a1", Type: "x",
				Time: b.Received, Received: b.Received, Raw: []byte(raw)})
		}
		testenv.Check(t, q.Enqueue(t.Context(), queue.Message{ID: b.ID, Agent: "a1", Events: len(b.Events), Payload: b.Encode(nil)}))
	}
}

// checkPoisoned checks that a server works the queue within maxResident.
func (c *testCluster) checkPoisoned() {
	c.t.Helper()
	p := c.startServer()
	limitMemory(c.t, p)
	c.waitForWorkers()
	checkMemory(c.t, p)
	var s struct{ Dead int }
	testenv.Check(c.t, json.Unmarshal([]byte(c.run("queue", "stats", "--data", ".", "--json")), &s))
	if s.Dead != 1+60+60 { // the others are within the limits
		c.t.Errorf("%d dead letters", s.Dead)
	}
	testenv.Check(c.t, p.stop())
}
