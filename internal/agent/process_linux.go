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

// pollEvery is how often /proc is looked through where the kernel does not tell.
const pollEvery = 250 * time.Millisecond

// Events implements Source.
func (s *Process) Events(ctx context.Context) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		proc, err := newProcfs()
		if err != nil {
			yield(nil, fmt.Errorf("process source: %w", err))
			return
		}
		host := thisHost()
		w := &watch{proc: proc, host: host, agentID: cmp.Or(s.AgentID, host.Hostname), seen: map[int]*process{}, yield: yield}
		report := s.Report
		if report == nil {
			report = func(string, string) {}
		}
		if !s.Poll {
			c, err := connect()
			if err == nil {
				defer c.close()
				defer hurry()()
				w.first()
				w.listen(ctx, c, report)
				return
			}
			report(fmt.Sprintf("looking through /proc every %v, which misses processes that live shorter, and exit codes: %v", pollEvery, err),
				"run the agent as root, or give it CAP_NET_ADMIN")
		}
		w.first()
		w.poll(ctx)
	}
}

// hurry lets the caller's thread run before others, until the function that
// it returns is called: what a process was can only be read while it is there,
// and many live for a millisecond. Without the right to, nothing changes.
func hurry() (stop func()) {
	runtime.LockOSThread()
	thread := unix.Gettid()
	old, err := unix.Getpriority(unix.PRIO_PROCESS, thread)
	if err == nil {
		err = unix.Setpriority(unix.PRIO_PROCESS, thread, -15)
	}
	return func() {
		if err == nil {
			unix.Setpriority(unix.PRIO_PROCESS, thread, 20-old) // the kernel gives 20 less it
		}
		runtime.UnlockOSThread()
	}
}

// A watch follows the processes of this host.
type watch struct {
	proc    *procfs
	host    hostInfo
	agentID string
	seen    map[int]*process
	yield   func([]byte, error) bool
	early   bool // what is told was there before
	ended   bool // yield has had enough
}

func (w *watch) emit(p *process) {
	at := time.Now()
	if w.early {
		at = p.born
	}
	raw, err := p.info.encode(w.agentID, w.host, at, p.instance)
	if !w.ended && !w.yield(raw, err) {
		w.ended = true
	}
}

// first tells of what runs already, as of when it started. It does so at each
// start: the server knows an event again by its id.
func (w *watch) first() {
	w.early = true
	w.scan()
	w.early = false
}

// scan looks at all processes, and tells of those that came or went since the
// last time; the first time, of all.
func (w *watch) scan() error {
	pids, err := w.proc.pids()
	if err != nil {
		return err
	}
	here := make(map[int]bool, len(pids))
	for _, pid := range pids {
		here[pid] = true
	}
	for pid, old := range w.seen {
		if !here[pid] || !w.same(old) {
			w.gone(pid, nil)
		}
	}
	slices.Sort(pids) // parents before their children, but for a wrap of pids
	for _, pid := range pids {
		if w.seen[pid] == nil {
			w.came(pid)
		}
	}
	return nil
}

// same reports whether old is what its pid still is: the same process, and
// the same program.
func (w *watch) same(old *process) bool {
	start, image, ok := w.proc.identity(old.info.PID)
	return ok && start == old.start && (image == "" || image == old.info.Name)
}

// came tells of a process that started, or became another program. It reports
// false when that is gone already.
func (w *watch) came(pid int) bool {
	p, err := w.proc.read(pid)
	if err != nil {
		return false
	}
	w.proc.parent(&p.info, w.seen)
	w.seen[pid] = p
	w.emit(p)
	return true
}

// gone tells of a process that ended. One that was never seen was a copy of
// its parent, made by fork alone, and nobody was told of its start.
func (w *watch) gone(pid int, exitCode *int) {
	p := w.seen[pid]
	if p == nil {
		return
	}
	delete(w.seen, pid)
	p.info.Action, p.info.ExitCode = "terminated", exitCode
	w.emit(p)
}

func (w *watch) poll(ctx context.Context) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !w.ended {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := w.scan(); err != nil && !w.yield(nil, fmt.Errorf("process source: %w", err)) {
				return
			}
		}
	}
}
