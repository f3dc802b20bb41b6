package agent

import (
	"cmp"
	"context"
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
func (s *ProcessSource) Events(ctx context.Context, _ Position) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		proc, err := newProcfs()
		if err != nil {
			yield(Event{}, fmt.Errorf("process source: %w", err))
			return
		}
		host := thisHost()
		w := &processWatcher{proc: proc, host: host, agentID: cmp.Or(s.AgentID, host.Hostname), seen: map[int]*process{}, yield: yield}
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
}

// reportRunningProcesses yields the start of every running process, with the time at which
// it started. Repeating this at each start of the agent is harmless: the events'
// ids are the same.
func (w *processWatcher) reportRunningProcesses() {
	w.initial = true
	w.scanProcfs()
	w.initial = false
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
	w.emitProcessEvent(p)
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
		}
	}
}
