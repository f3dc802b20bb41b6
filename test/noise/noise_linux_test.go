// Package noise runs a day of ordinary work and reports which of picket's own rules
// fire on it. docs/rules.md says what the day consists of.
package noise

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"iter"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/agent"
	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/scan"
	"github.com/picket-edr/picket/internal/testenv"
	"github.com/picket-edr/picket/rules"
	"github.com/picket-edr/picket/sigma"
)

var eventsFile = flag.String("events", "", "write the events of the day to this file, for picket scan and picket rules profile")

// dayStart is when the simulated day begins.
var dayStart = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// A day of ordinary work raises no high alert and fewer than five of level medium, and no
// rule of level low fires on more than five different commands.
func TestDay(t *testing.T) {
	d := newDay(t)
	for _, r := range d.scheduledRuns() {
		d.run(r)
	}
	d.addFileEvents()
	d.addLogLines()
	slices.SortStableFunc(d.events, func(a, b picket.Event) int { return a.Time.Compare(b.Time) })
	if *eventsFile != "" {
		testenv.Check(t, d.writeEvents(*eventsFile))
	}
	report := d.detect()
	report.print(t)
	medium := 0
	for _, f := range report.fired {
		switch {
		case f.level >= sigma.High:
			t.Errorf("%s: %q fired on %s", f.level, f.title, f.examples())
		case f.level == sigma.Medium:
			medium++
		case f.level == sigma.Low && len(f.commands) > maxLowCommands:
			t.Errorf("low: %q fired on %d commands, more than %d", f.title, len(f.commands), maxLowCommands)
		}
	}
	if medium >= maxMediumAlerts {
		t.Errorf("%d alerts of level medium, not fewer than %d", medium, maxMediumAlerts)
	}
}

const (
	maxMediumAlerts = 5
	maxLowCommands  = 5 // different commands on which a rule of level low fires
)

// A day runs jobs in a scratch root and keeps the events of their processes, with paths
// and times as they would be on a real host on a real day.
type day struct {
	t       *testing.T
	root    string
	env     []string
	watched chan watchedEvent
	events  []picket.Event
}

// A watchedEvent is an event of the agent's process source.
type watchedEvent struct {
	raw                 []byte
	time                float64
	pid, parent         int
	commandLine, action string
}

// newDay builds the scratch root and starts to watch processes, or skips the test if this
// host does not let it.
func newDay(t *testing.T) *day {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: the day needs root, to see all processes and to install packages")
	}
	root, err := os.MkdirTemp("/srv", "noise") // rules treat world-writable folders and homes specially
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	testenv.Check(t, os.Chmod(root, 0o755))
	// Processes whose parent has ended become children of this one, and still count.
	testenv.Check(t, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	d := &day{t: t, root: root, watched: make(chan watchedEvent, 1024)}
	d.makeRoot()
	d.watch()
	return d
}

//go:embed programs.txt
var programs string

// makeRoot fills the scratch root with a file system and the programs of programs.txt.
func (d *day) makeRoot() {
	t := d.t
	for _, dir := range []string{"etc/cron.hourly", "home/dev", "opt", "root", "tmp", "usr/local/sbin", "var/backups", "var/cache", "var/lib/dpkg/alternatives", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log", "var/run", "var/spool/app", "var/tmp", "var/www"} {
		testenv.Check(t, os.MkdirAll(filepath.Join(d.root, dir), 0o755))
	}
	for _, file := range []string{"etc/passwd", "etc/group", "etc/hosts", "etc/hostname"} {
		b, err := os.ReadFile("/" + file)
		testenv.Check(t, err)
		testenv.Check(t, os.WriteFile(filepath.Join(d.root, file), b, 0o644))
	}
	testenv.Check(t, os.WriteFile(filepath.Join(d.root, "etc/shadow"), []byte("root:*:19000::::::\n"), 0o600))
	program := filepath.Join(d.root, "program")
	build := exec.Command("go", "build", "-o", program, "./program")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name := range strings.FieldsSeq(programs) {
		testenv.Check(t, os.MkdirAll(filepath.Dir(d.root+name), 0o755))
		testenv.Check(t, os.Link(program, d.root+name))
	}
	for _, name := range []string{"var/lib/app.db", "var/lib/dpkg/status", "var/www/index.php"} {
		testenv.Check(t, os.WriteFile(filepath.Join(d.root, name), nil, 0o644))
	}
	library, err := filepath.Abs("lib.sh")
	testenv.Check(t, err)
	path := strings.Join([]string{d.root + "/usr/sbin", d.root + "/usr/bin", d.root + "/home/dev/.cargo/bin", d.root + "/home/dev/.local/bin", "/usr/local/go/bin", filepath.Join(goRoot(t), "bin"), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, ":")
	d.env = []string{"ROOT=" + d.root, "HOME=" + d.root + "/root", "PATH=" + path, "BASH_ENV=" + library, "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "TMPDIR=/tmp"}
}

func goRoot(t *testing.T) string {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	testenv.Check(t, err)
	return strings.TrimSpace(string(out))
}

// watch starts the agent's process source.
func (d *day) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	d.t.Cleanup(cancel)
	unavailable := make(chan string, 1)
	started := make(chan bool)
	source := &agent.ProcessSource{AgentID: "day", Report: func(message, _ string) { unavailable <- message }}
	go func() {
		defer close(d.watched)
		first := true
		for event, err := range source.Events(ctx, "") {
			if err != nil || first && len(unavailable) > 0 {
				close(started)
				return
			}
			if first {
				first = false
				close(started)
			}
			d.watched <- readWatched(event.Data)
		}
	}()
	<-started
	select {
	case message := <-unavailable:
		d.t.Skipf("SKIPPED: %s", message)
	default:
	}
}

func readWatched(raw []byte) watchedEvent {
	var e struct {
		Timestamp float64
		Process   struct {
			PID         int
			ParentPID   int    `json:"parent_pid"`
			CommandLine string `json:"command_line"`
			Action      string
		}
	}
	if json.Unmarshal(raw, &e) != nil {
		return watchedEvent{}
	}
	return watchedEvent{raw: raw, time: e.Timestamp, pid: e.Process.PID, parent: e.Process.ParentPID, commandLine: e.Process.CommandLine, action: e.Process.Action}
}

// A jobRun is a job at a time of the day. It lasts as long as here if lasting is 0; people
// take longer than scripts.
type jobRun struct {
	script  string
	at      time.Time
	lasting time.Duration
}

// scheduledRuns returns the runs of all jobs in order. A script names its times in its first
// line, and how long it takes in practice.
func (d *day) scheduledRuns() []jobRun {
	folder, err := filepath.Abs("day")
	testenv.Check(d.t, err)
	scripts, err := filepath.Glob(folder + "/*.sh")
	testenv.Check(d.t, err)
	var runs []jobRun
	for _, script := range scripts {
		b, err := os.ReadFile(script)
		testenv.Check(d.t, err)
		line, _, _ := strings.Cut(string(b), "\n")
		times, duration, _ := strings.Cut(strings.TrimPrefix(line, "# at "), " lasting ")
		var lasting time.Duration
		if duration != "" {
			lasting, err = time.ParseDuration(duration)
			testenv.Check(d.t, err)
		}
		for at := range strings.FieldsSeq(times) {
			runs = append(runs, jobRun{script, timeOfDay(d.t, at), lasting})
		}
	}
	slices.SortFunc(runs, func(a, b jobRun) int { return a.at.Compare(b.at) })
	return runs
}

func timeOfDay(t *testing.T, clock string) time.Time {
	t.Helper()
	c, err := time.Parse("15:04", clock)
	testenv.Check(t, err)
	return dayStart.Add(time.Duration(c.Hour())*time.Hour + time.Duration(c.Minute())*time.Minute)
}

// run runs a job and keeps the events of its processes. They end with the start of a
// process that the test starts after the job.
func (d *day) run(r jobRun) {
	start := time.Now()
	cmd := exec.Command("bash", r.script)
	cmd.Dir, cmd.Env = d.root, d.env
	if testing.Verbose() {
		cmd.Stderr = os.Stderr
	}
	testenv.Check(d.t, cmd.Start())
	marker := fmt.Sprintf(": noise-marker-%d; read line", start.UnixNano())
	last := exec.Command("sh", "-c", marker)
	end, err := last.StdinPipe() // it runs until its event was read
	testenv.Check(d.t, err)
	waited := make(chan error, 1)
	go func() {
		waited <- cmd.Wait()
		last.Start()
	}()
	pids := map[int]bool{os.Getpid(): true, cmd.Process.Pid: true}
	var kept []watchedEvent
	for e := range d.watched {
		if strings.Contains(e.commandLine, marker) {
			break
		}
		// A shell may have forked between the two.
		if e.pid != cmd.Process.Pid && e.pid != os.Getpid() && (pids[e.pid] || pids[e.parent] || bytes.Contains(e.raw, []byte(d.root))) {
			pids[e.pid] = e.action != "terminated"
			kept = append(kept, e)
		}
	}
	d.keep(kept, r, start)
	end.Close()
	last.Wait()
	reapOrphans()
	if err := <-waited; err != nil {
		d.t.Logf("%s: %v", r.script, err)
	}
	d.t.Logf("%s %s took %.1f s", r.at.Format("15:04"), filepath.Base(r.script), time.Since(start).Seconds())
}

// reapOrphans waits for the processes that jobs have left behind.
func reapOrphans() {
	for {
		if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != nil || pid <= 0 {
			return
		}
	}
}

var timestampPattern = regexp.MustCompile(`"timestamp":[0-9.]+`)

// keep keeps the events of a job as if its root were that of the host. They are as long
// after the job's time of day as they were after its start, or spread over the time that
// the job lasts.
func (d *day) keep(events []watchedEvent, r jobRun, start time.Time) {
	for i, e := range events {
		at := r.at.Add(time.Duration((e.time - float64(start.UnixNano())/1e9) * float64(time.Second)))
		if r.lasting > 0 {
			at = r.at.Add(r.lasting * time.Duration(i) / time.Duration(len(events)))
		}
		raw := strings.ReplaceAll(string(e.raw), d.root+"/", "/")
		raw = strings.ReplaceAll(raw, d.root, "/")
		d.add(at, timestampPattern.ReplaceAllString(raw, fmt.Sprintf(`"timestamp":%.6f`, float64(at.UnixMicro())/1e6)))
	}
}

func (d *day) add(at time.Time, raw string) {
	d.events = append(d.events, picket.Event{ID: fmt.Sprint(len(d.events)), AgentID: "day", Host: "day", Time: at, Raw: []byte(raw)})
}

//go:embed files.txt
var files string

// addFileEvents adds the events of files.txt, and those of an upgrade of 60 packages: of
// each file of each, as dpkg writes it. The agent has no sensor for files yet.
func (d *day) addFileEvents() {
	add := func(at time.Time, operation, image, file string) {
		raw, err := json.Marshal(map[string]any{"event_type": "file", "agent_id": "day", "host": map[string]string{"hostname": "day", "os": "Linux"},
			"file": map[string]string{"path": file, "operation": operation, "image": image}})
		testenv.Check(d.t, err)
		d.add(at, string(raw))
	}
	for line := range strings.Lines(files) {
		f := strings.Fields(line)
		add(timeOfDay(d.t, f[0]), f[1], f[2], f[3])
	}
	lists, err := filepath.Glob("/var/lib/dpkg/info/*.list")
	testenv.Check(d.t, err)
	at := timeOfDay(d.t, "06:51")
	for _, list := range lists[:min(len(lists), 60)] {
		b, err := os.ReadFile(list)
		testenv.Check(d.t, err)
		for file := range strings.FieldsSeq(string(b)) {
			add(at, "created", "/usr/bin/dpkg", file+".dpkg-new")
			add(at, "renamed", "/usr/bin/dpkg", file)
			at = at.Add(time.Millisecond)
		}
	}
}

//go:embed log.txt
var logLines string

// addLogLines adds the lines of log.txt, as they stand in the log of a host.
func (d *day) addLogLines() {
	for line := range strings.Lines(logLines) {
		when, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		program, message, _ := strings.Cut(rest, " ")
		times := []string{when}
		if when == "hourly" {
			times = nil
			for hour := range 24 {
				times = append(times, fmt.Sprintf("%02d:17", hour))
			}
		}
		for _, clock := range times {
			at := timeOfDay(d.t, clock)
			raw, err := json.Marshal(map[string]string{"@timestamp": at.Format(time.RFC3339), "host": "day", "program": program, "message": message})
			testenv.Check(d.t, err)
			d.add(at, string(raw))
		}
	}
}

// writeEvents writes the events to a file, one a line.
func (d *day) writeEvents(file string) error {
	var b bytes.Buffer
	for _, ev := range d.events {
		b.Write(ev.Raw)
		b.WriteByte('\n')
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}

// A firedRule is what a rule did on a day.
type firedRule struct {
	level   sigma.Level
	title   string
	matches int
	hours   map[string]bool // of the day
	// commands are the different commands, lines of a log or files that it fired on: what
	// an analyst would look at, since the matches of a rule on a host are one alert.
	commands map[string]bool
}

// A dayReport is which rules fired on a day.
type dayReport struct {
	events int
	fired  []*firedRule // the highest level first
}

// detect evaluates picket's own rules on the events in the order of their times.
func (d *day) detect() dayReport {
	t := d.t
	set, err := ruleset.Load([]ruleset.Source{{Name: "builtin", FS: rules.FS}}, nil)
	testenv.Check(t, err)
	if len(d.events) < 1000 {
		t.Fatalf("%d events: this is no day", len(d.events))
	}
	byRule := make(map[string]*firedRule)
	events := iter.Seq2[picket.Event, error](func(yield func(picket.Event, error) bool) {
		for _, ev := range d.events {
			if !yield(ev, nil) {
				return
			}
		}
	})
	testenv.Check(t, scan.Events(t.Context(), detect.NewEngine(set.Rules, nil), &scan.Progress{}, func(m scan.LocatedMatch) error {
		if m.CorrelationOnly {
			return nil
		}
		f := byRule[m.RuleID]
		if f == nil {
			f = &firedRule{level: m.Level, title: m.Title, hours: make(map[string]bool), commands: make(map[string]bool)}
			byRule[m.RuleID] = f
		}
		f.matches++
		f.hours[m.Time.Format("15")] = true
		f.commands[commandOf(m)] = true
		return nil
	}, events))
	report := dayReport{events: len(d.events)}
	for _, f := range byRule {
		report.fired = append(report.fired, f)
	}
	slices.SortFunc(report.fired, func(a, b *firedRule) int {
		return cmp.Or(cmp.Compare(b.level, a.level), cmp.Compare(len(b.commands), len(a.commands)), cmp.Compare(b.matches, a.matches), cmp.Compare(a.title, b.title))
	})
	return report
}

// commandOf returns the command, the line or the path that a match is about.
func commandOf(m scan.LocatedMatch) string {
	for _, pattern := range []string{`"command_line":"((?:[^"\\]|\\.)*)"`, `"message":"((?:[^"\\]|\\.)*)"`, `"path":"((?:[^"\\]|\\.)*)"`} {
		if found := regexp.MustCompile(pattern).FindSubmatch(m.Raw); found != nil {
			return string(found[1])
		}
	}
	return fmt.Sprint(m.Why)
}

// examples returns some of the commands, in one line.
func (f *firedRule) examples() string {
	commands := slices.Sorted(maps.Keys(f.commands))
	for i, c := range commands {
		commands[i] = c[:min(len(c), 80)]
	}
	return strings.Join(commands[:min(len(commands), 3)], " | ")
}

func (r dayReport) print(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, "%d events of a day\n%-13s %8s %8s %5s  rule\n", r.events, "level", "commands", "matches", "hours")
	for _, f := range r.fired {
		fmt.Fprintf(&b, "%-13s %8d %8d %5d  %s: %s\n", f.level, len(f.commands), f.matches, len(f.hours), f.title, f.examples())
	}
	t.Log(b.String())
}
