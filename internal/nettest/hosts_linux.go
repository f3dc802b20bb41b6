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

// A Bridge connects hosts: network namespaces of the kernel, each with its own
// address, which cannot reach this machine's network.
type Bridge struct {
	t     testing.TB
	ns    *os.File
	hosts int
}

// A Host is attached to a Bridge by a cable that can be unplugged.
type Host struct {
	Addr string // its IP address

	bridge *Bridge
	ns     *os.File
	port   string // the bridge's end of the cable
}

// NewBridge makes a bridge that ends with the test. The test is skipped, even if
// PICKET_TEST_REQUIRE is set, where that is not permitted: it requires root, and
// in many containers root is not enough.
func NewBridge(t testing.TB) *Bridge {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil {
		testenv.Skip(t, "ip in the path; apt-get install iproute2")
	}
	b := &Bridge{t: t, ns: newNamespace(t)}
	var out []byte
	var err error
	runInNamespace(t, b.ns, func() {
		out, err = exec.Command("ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0").CombinedOutput()
	})
	if err != nil {
		t.Skipf("SKIPPED: this kernel does not permit a bridge: %v: %s", err, out)
	}
	b.runIP("link", "set", "br0", "up")
	return b
}

// newNamespace makes a network namespace. It exists as long as its file is open or
// processes run in it.
func newNamespace(t testing.TB) *os.File {
	t.Helper()
	var ns *os.File
	err := onNewThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		ns, err = os.Open(threadNamespacePath())
		return err
	})
	if err != nil {
		t.Skipf("SKIPPED: this system does not permit network namespaces, which require CAP_NET_ADMIN and CAP_SYS_ADMIN: %v", err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

func threadNamespacePath() string { return fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()) }

// onNewThread runs f on a new thread whose namespace it may change. The thread
// ends afterwards.
func onNewThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked, so the thread is not reused
		done <- f()
	}()
	return <-done
}

// runInNamespace runs f in a namespace: sockets that f opens and processes that it starts
// are in it, but goroutines that it starts are not.
func runInNamespace(t testing.TB, ns *os.File, f func()) {
	t.Helper()
	runtime.LockOSThread()
	own, err := os.Open(threadNamespacePath())
	if err == nil {
		defer own.Close()
		err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
	}
	if err != nil {
		runtime.UnlockOSThread()
		t.Errorf("enter a network namespace: %v", err)
		return
	}
	defer func() {
		if err := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); err != nil {
			t.Errorf("leave a network namespace: %v", err) // the thread stays locked and is not reused
			return
		}
		runtime.UnlockOSThread()
	}()
	f()
}

func runIPIn(t testing.TB, ns *os.File, args ...string) {
	t.Helper()
	runInNamespace(t, ns, func() {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Errorf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
	})
}

func (b *Bridge) runIP(args ...string) { b.t.Helper(); runIPIn(b.t, b.ns, args...) }

// AttachHost attaches another host.
func (b *Bridge) AttachHost() *Host {
	b.t.Helper()
	b.hosts++
	h := &Host{Addr: fmt.Sprintf("10.0.0.%d", b.hosts), bridge: b, ns: newNamespace(b.t), port: fmt.Sprint("port", b.hosts)}
	b.runIP("link", "add", h.port, "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), h.ns.Fd()))
	h.Heal()
	for _, args := range [][]string{
		{"addr", "add", h.Addr + "/24", "dev", "eth0"}, {"link", "set", "eth0", "up"}, {"link", "set", "lo", "up"},
	} {
		runIPIn(b.t, h.ns, args...)
	}
	return h
}

// Run runs f on the host: sockets that f opens and processes that it starts are
// there, but goroutines that it starts are not.
func (h *Host) Run(f func()) { h.bridge.t.Helper(); runInNamespace(h.bridge.t, h.ns, f) }

// Dial connects from the host.
func (h *Host) Dial(ctx context.Context, network, addr string) (c net.Conn, err error) {
	h.Run(func() { c, err = new(net.Dialer).DialContext(ctx, network, addr) })
	return c, err
}

// Unplug unplugs the cable, which the host notices.
func (h *Host) Unplug() { h.bridge.t.Helper(); h.bridge.runIP("link", "set", h.port, "down") }

// Blackhole drops all packets, which the host does not notice.
func (h *Host) Blackhole() { h.bridge.t.Helper(); h.bridge.runIP("link", "set", h.port, "nomaster") }

// Heal reverts Unplug and Blackhole.
func (h *Host) Heal() {
	h.bridge.t.Helper()
	h.bridge.runIP("link", "set", h.port, "master", "br0", "up")
}
