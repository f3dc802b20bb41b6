package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// procPollInterval is the time between polls of /proc without the process connector.
const procPollInterval = 250 * time.Millisecond

// Events implements Source.
func (s *ProcessSource) Events(ctx context.Context, from Position) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		proc, err := newProcfs()
		if err != nil {
			yield(Event{}, fmt.Errorf("process source: %w", err))
			return
		}
		host := thisHost()
		w := &processWatcher{proc: proc, host: host, agentID: cmp.Or(s.AgentID, host.Hostname), seen: map[int]*process{},
			reported: reportedProcesses(from, proc.bootID), yield: yield}
		defer w.emitPosition()
		report := s.Report
		if report == nil {
			report = func(string, string) {}
		}
		if !s.PollOnly {
			c, err := openProcConnector()
			if err == nil {
				defer c.close()
				defer raiseThreadPriority()()
				w.reportRunningProcesses()
				w.listenToConnector(ctx, c, report)
				return
			}
			report(fmt.Sprintf("polling /proc every %v, which misses shorter processes and exit codes: %v", procPollInterval, err),
				"run the agent as root, or give it CAP_NET_ADMIN")
		}
		w.reportRunningProcesses()
		w.pollProcfs(ctx)
	}
}

// raiseThreadPriority raises the scheduling priority of the caller's thread until stop
// is called: /proc must be read while a process still exists, and many live for
// a millisecond. Without the privilege it does nothing.
func raiseThreadPriority() (stop func()) {
	runtime.LockOSThread()
	thread := unix.Gettid()
	old, err := unix.Getpriority(unix.PRIO_PROCESS, thread)
	if err == nil {
		err = unix.Setpriority(unix.PRIO_PROCESS, thread, -15)
	}
	return func() {
		if err == nil {
			unix.Setpriority(unix.PRIO_PROCESS, thread, 20-old) // the system call returns 20 - priority
		}
		runtime.UnlockOSThread()
	}
}

// A processWatcher tracks the processes of this host and yields their events.
type processWatcher struct {
	proc    *procfs
	host    hostInfo
	agentID string
	seen    map[int]*process
	yield   func(Event, error) bool
	initial bool // the processes were running before the watcher started
	stopped bool // yield returned false

	reported     map[int]string // fingerprints of what earlier agents have reported, by pid
	unsaved      bool           // an event has been yielded since the last position
	lastPosition time.Time
}

// A processPosition is a Position of a ProcessSource, as JSON: the running processes that
// have been reported.
type processPosition struct {
	BootID       string         `json:"boot_id"`
	Fingerprints map[int]string `json:"fingerprints"` // by pid
}

const (
	// positionInterval is how often a position is yielded. After kill -9, what has been
	// reported since the last one is reported again.
	positionInterval = 5 * time.Second
	// maxPositionProcesses bounds a position. After a restart, further processes are
	// reported again.
	maxPositionProcesses = 10_000
)

// reportedProcesses returns the fingerprints in a position, if it is of this boot.
func reportedProcesses(saved Position, bootID string) map[int]string {
	var p processPosition
	if saved == "" || json.Unmarshal([]byte(saved), &p) != nil || p.BootID != bootID {
		return nil
	}
	return p.Fingerprints
}

// emitPositionIfDue yields a position if there is a new one and the last is long ago.
func (w *processWatcher) emitPositionIfDue() {
	if time.Since(w.lastPosition) >= positionInterval {
		w.emitPosition()
	}
}

// emitPosition yields the position after all events so far.
func (w *processWatcher) emitPosition() {
	if !w.unsaved || w.stopped {
		return
	}
	p := processPosition{BootID: w.proc.bootID, Fingerprints: make(map[int]string, len(w.seen))}
	for pid, seen := range w.seen {
		if print := seen.fingerprint(); print != "" && len(p.Fingerprints) < maxPositionProcesses {
			p.Fingerprints[pid] = print
		}
	}
	encoded, err := json.Marshal(p)
	w.stopped = !w.yield(Event{Position: Position(encoded)}, err)
	w.unsaved, w.lastPosition = false, time.Now()
}

// emitProcessEvent yields the event of a process.
func (w *processWatcher) emitProcessEvent(p *process) {
	at := time.Now()
	if w.initial {
		at = p.startTime
	}
	raw, err := p.info.encode(w.agentID, w.host, at, p.instance)
	if !w.stopped && !w.yield(Event{Data: raw}, err) {
		w.stopped = true
	}
	w.unsaved = true
}

// reportRunningProcesses yields the start of every running process that no earlier agent
// has reported, with the time at which it started.
func (w *processWatcher) reportRunningProcesses() {
	w.initial = true
	w.scanProcfs()
	w.initial, w.reported, w.unsaved = false, nil, true
	w.emitPosition()
}

// scanProcfs reads all processes and yields those that started or exited since the last
// scan.
func (w *processWatcher) scanProcfs() error {
	pids, err := w.proc.pids()
	if err != nil {
		return err
	}
	here := make(map[int]bool, len(pids))
	for _, pid := range pids {
		here[pid] = true
	}
	for pid, old := range w.seen {
		if !here[pid] || !w.isUnchanged(old) {
			w.reportExit(pid, nil)
		}
	}
	slices.Sort(pids) // parents before their children, except when pids wrap around
	for _, pid := range pids {
		if w.seen[pid] == nil {
			w.reportStart(pid)
		}
	}
	return nil
}

// isUnchanged reports whether a pid still is the same process running the same
// program.
func (w *processWatcher) isUnchanged(old *process) bool {
	start, image, ok := w.proc.identity(old.info.PID)
	return ok && start == old.startTicks && (image == "" || image == old.info.Name)
}

// reportStart yields the start of a process, or of another program in it. It returns
// false if the process has exited already.
func (w *processWatcher) reportStart(pid int) (alive bool) {
	p, err := w.proc.read(pid)
	if err != nil {
		return false
	}
	w.proc.setParent(&p.info, w.seen)
	w.seen[pid] = p
	if w.reported[pid] == "" || w.reported[pid] != p.fingerprint() {
		w.emitProcessEvent(p)
	}
	return true
}

// reportExit yields the exit of a process. A process that was never seen only forked
// and never ran a program; its start was not reported either.
func (w *processWatcher) reportExit(pid int, exitCode *int) {
	p := w.seen[pid]
	if p == nil {
		return
	}
	delete(w.seen, pid)
	p.info.Action, p.info.ExitCode, p.info.Args = "terminated", exitCode, nil
	w.emitProcessEvent(p)
}

// pollProcfs scans until ctx ends.
func (w *processWatcher) pollProcfs(ctx context.Context) {
	tick := time.NewTicker(procPollInterval)
	defer tick.Stop()
	for !w.stopped {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := w.scanProcfs(); err != nil && !w.yield(Event{}, fmt.Errorf("process source: %w", err)) {
				return
			}
			w.emitPositionIfDue()
		}
	}
}
