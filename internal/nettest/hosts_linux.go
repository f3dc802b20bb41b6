package nettest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/picket-edr/picket/internal/testenv"
)

// A Switch connects hosts: network namespaces of the kernel, each with an
// address of its own, that see nothing of this machine's network.
type Switch struct {
	t     testing.TB
	ns    *os.File
	hosts int
}

// A Host is on a Switch, by a cable that can be unplugged.
type Host struct {
	Addr string // its IP address

	sw   *Switch
	ns   *os.File
	port string // the switch's end of the cable
}

// NewSwitch makes a switch, which is gone with the test. Only root may, and
// many containers keep even root from it: that can't be installed, so the test
// is skipped there in any case.
func NewSwitch(t testing.TB) *Switch {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil {
		testenv.Skip(t, "ip in the path; apt-get install iproute2")
	}
	s := &Switch{t: t, ns: newNamespace(t)}
	var out []byte
	var err error
	in(t, s.ns, func() {
		out, err = exec.Command("ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0").CombinedOutput()
	})
	if err != nil {
		t.Skipf("SKIPPED: this kernel does not let us make a bridge: %v: %s", err, out)
	}
	s.ip("link", "set", "br0", "up")
	return s
}

// newNamespace makes a network namespace, which lives as long as its file and
// the processes in it.
func newNamespace(t testing.TB) *os.File {
	t.Helper()
	var ns *os.File
	err := onThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		ns, err = os.Open(threadNamespace())
		return err
	})
	if err != nil {
		t.Skipf("SKIPPED: this system does not let us make network namespaces, which takes CAP_NET_ADMIN and CAP_SYS_ADMIN: %v", err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

func threadNamespace() string { return fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()) }

// onThread runs f on a thread of its own, whose namespace it may change: it
// ends with the thread.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is not used again
		done <- f()
	}()
	return <-done
}

// in runs f with the calling goroutine in a namespace: sockets that f makes,
// and processes that it starts, are there; goroutines that it starts are not.
func in(t testing.TB, ns *os.File, f func()) {
	t.Helper()
	runtime.LockOSThread()
	home, err := os.Open(threadNamespace())
	if err == nil {
		defer home.Close()
		err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
	}
	if err != nil {
		runtime.UnlockOSThread()
		t.Errorf("enter a network namespace: %v", err)
		return
	}
	defer func() {
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
			t.Errorf("leave a network namespace: %v", err) // the thread stays locked, and is not used again
			return
		}
		runtime.UnlockOSThread()
	}()
	f()
}

func ip(t testing.TB, ns *os.File, args ...string) {
	t.Helper()
	in(t, ns, func() {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Errorf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
	})
}

func (s *Switch) ip(args ...string) { s.t.Helper(); ip(s.t, s.ns, args...) }

// Host connects another host.
func (s *Switch) Host() *Host {
	s.t.Helper()
	s.hosts++
	h := &Host{Addr: fmt.Sprintf("10.0.0.%d", s.hosts), sw: s, ns: newNamespace(s.t), port: fmt.Sprint("port", s.hosts)}
	s.ip("link", "add", h.port, "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), h.ns.Fd()))
	h.Heal()
	for _, args := range [][]string{
		{"addr", "add", h.Addr + "/24", "dev", "eth0"}, {"link", "set", "eth0", "up"}, {"link", "set", "lo", "up"},
	} {
		ip(s.t, h.ns, args...)
	}
	return h
}

// Do runs f on the host: sockets that f makes, and processes that it starts,
// are there. Goroutines that it starts are not.
func (h *Host) Do(f func()) { h.sw.t.Helper(); in(h.sw.t, h.ns, f) }

// Dial connects from the host.
func (h *Host) Dial(ctx context.Context, network, addr string) (c net.Conn, err error) {
	h.Do(func() { c, err = new(net.Dialer).DialContext(ctx, network, addr) })
	return c, err
}

// Unplug pulls the cable: the host can tell.
func (h *Host) Unplug() { h.sw.t.Helper(); h.sw.ip("link", "set", h.port, "down") }

// Blackhole lets nothing through any more, and nobody can tell.
func (h *Host) Blackhole() { h.sw.t.Helper(); h.sw.ip("link", "set", h.port, "nomaster") }

// Heal undoes both.
func (h *Host) Heal() {
	h.sw.t.Helper()
	h.sw.ip("link", "set", h.port, "master", "br0", "up")
}
