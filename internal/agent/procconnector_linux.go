package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// The process connector of the kernel: include/uapi/linux/cn_proc.h.
const (
	cnIdxProc            = 1
	cnValProc            = 1
	cnMulticastListen    = 1
	procEventNone        = 0
	procEventFork        = 0x00000001
	procEventExec        = 0x00000002
	procEventExit        = 0x80000000
	nlHeaderBytes        = unix.NLMSG_HDRLEN
	cnHeaderBytes        = 20 // struct cn_msg
	procEventHeaderBytes = 16 // what, cpu, timestamp of struct proc_event
	procEventOffset      = nlHeaderBytes + cnHeaderBytes
	procEventDataOffset  = procEventOffset + procEventHeaderBytes
	receiveBufferBytes   = 8 << 20 // of the socket's buffer: some 100,000 events
)

// A procConnector receives process events from the kernel.
type procConnector struct {
	fd  int
	buf []byte
}

// openProcConnector subscribes to the kernel's process connector. It needs CAP_NET_ADMIN,
// and the initial pid namespace, because the pids are of that namespace.
func openProcConnector() (*procConnector, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_CONNECTOR)
	if err != nil {
		return nil, fmt.Errorf("open process connector: %w", err)
	}
	c := &procConnector{fd: fd, buf: make([]byte, os.Getpagesize())}
	if err := c.subscribe(); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return c, nil
}

func (c *procConnector) subscribe() error {
	if err := unix.Bind(c.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: cnIdxProc}); err != nil {
		return fmt.Errorf("bind process connector: %w", err)
	}
	if unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBufferBytes) != nil {
		unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBufferBytes)
	}
	// Time out, to notice the end of the context when there are no events.
	if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200_000}); err != nil {
		return fmt.Errorf("set timeout of process connector: %w", err)
	}
	e := binary.NativeEndian
	m := make([]byte, nlHeaderBytes+cnHeaderBytes+4)
	e.PutUint32(m[0:], uint32(len(m)))
	e.PutUint16(m[4:], unix.NLMSG_DONE)
	e.PutUint32(m[12:], uint32(os.Getpid()))
	e.PutUint32(m[nlHeaderBytes:], cnIdxProc)
	e.PutUint32(m[nlHeaderBytes+4:], cnValProc)
	e.PutUint16(m[nlHeaderBytes+16:], 4)
	e.PutUint32(m[nlHeaderBytes+cnHeaderBytes:], cnMulticastListen)
	if err := unix.Sendto(c.fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("ask process connector: %w", err)
	}
	// The kernel confirms with an event of kind none. A kernel built without the
	// connector does not answer.
	for range 10 {
		ev, err := c.receive()
		if err == nil {
			if ev.what == procEventNone && ev.err != 0 {
				return fmt.Errorf("ask process connector: %w", unix.Errno(ev.err))
			}
			return nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return errors.New("ask process connector: the kernel does not answer")
}

func (c *procConnector) close() { unix.Close(c.fd) }

// A procConnectorEvent is what is used of an event of the process connector.
type procConnectorEvent struct {
	what      uint32
	err       uint32
	at        time.Duration // of CLOCK_MONOTONIC
	pid, tgid int           // the thread and the process
	parent    int           // of a fork
	exitCode  uint32        // as wait gives it
}

// receive returns the next event. Its errors are those of recvfrom: EAGAIN if
// there is none yet, ENOBUFS if some were lost.
func (c *procConnector) receive() (procConnectorEvent, error) {
	for {
		n, from, err := unix.Recvfrom(c.fd, c.buf, 0)
		if err != nil {
			return procConnectorEvent{}, err
		}
		if a, ok := from.(*unix.SockaddrNetlink); !ok || a.Pid != 0 || n < procEventDataOffset+4 {
			continue // not from the kernel: any process can send to this socket
		}
		e, b := binary.NativeEndian, c.buf[:n]
		ev := procConnectorEvent{what: e.Uint32(b[procEventOffset:]), at: time.Duration(e.Uint64(b[procEventOffset+8:]))}
		word := func(i int) uint32 {
			if at := procEventDataOffset + 4*i; at+4 <= n {
				return e.Uint32(b[at:])
			}
			return 0
		}
		switch ev.what {
		case procEventNone:
			ev.err = word(0)
		case procEventFork:
			ev.parent, ev.pid, ev.tgid = int(word(1)), int(word(2)), int(word(3))
		case procEventExec:
			ev.pid, ev.tgid = int(word(0)), int(word(1))
		case procEventExit:
			ev.pid, ev.tgid, ev.exitCode = int(word(0)), int(word(1)), word(2)
		default:
			continue
		}
		return ev, nil
	}
}

// listenToConnector handles the connector's events until ctx ends.
func (w *processWatcher) listenToConnector(ctx context.Context, c *procConnector, report func(message, hint string)) {
	forkParents := map[int]int{} // parents of the children that have not run a program yet
	for ctx.Err() == nil && !w.stopped {
		ev, err := c.receive()
		switch {
		case err == nil:
			w.handleConnectorEvent(ev, forkParents)
			w.emitPositionIfDue()
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			w.emitPositionIfDue()
		case errors.Is(err, unix.ENOBUFS):
			report("more processes started and exited than could be read; some were missed", "the host, or the agent's disk, is overloaded")
			clear(forkParents)
			w.scanProcfs() // finds those that still run
		default:
			w.yield(Event{}, fmt.Errorf("process source: read connector: %w", err))
			return
		}
	}
}

// handleConnectorEvent handles one connector event.
func (w *processWatcher) handleConnectorEvent(ev procConnectorEvent, forkParents map[int]int) {
	if ev.pid != ev.tgid {
		return // a thread, not a process
	}
	switch ev.what {
	case procEventFork:
		forkParents[ev.pid] = ev.parent
	case procEventExec:
		parent := forkParents[ev.pid]
		delete(forkParents, ev.pid)
		if p := w.seen[ev.pid]; p != nil && ev.at <= p.readAt {
			return // reported already, as a process that was running or by a later event
		}
		if !w.reportStart(ev.pid) {
			w.reportStartWithoutDetails(ev.pid, parent)
		}
	case procEventExit:
		delete(forkParents, ev.pid)
		code := unix.WaitStatus(ev.exitCode).ExitStatus()
		if s := unix.WaitStatus(ev.exitCode); s.Signaled() {
			code = 128 + int(s.Signal()) // as shells do
		}
		w.reportExit(ev.pid, &code)
	}
}

// reportStartWithoutDetails yields the start of a process that exited before /proc could be
// read, with its parent.
func (w *processWatcher) reportStartWithoutDetails(pid, parentPID int) {
	p := &process{info: processInfo{PID: pid, ParentPID: parentPID, Name: "?", Action: "created"},
		instance: w.proc.bootID + " missed " + strconv.FormatInt(time.Now().UnixNano(), 10)}
	w.proc.setParent(&p.info, w.seen)
	w.seen[pid] = p
	w.emitProcessEvent(p)
}
