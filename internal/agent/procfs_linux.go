package agent

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/user"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/picket-edr/picket/internal/commandline"
)

// maxCommandLineBytes bounds a command line; the kernel allows megabytes.
const maxCommandLineBytes = 32 << 10

// clockTicksPerSecond is USER_HZ, the unit of times in /proc; it is 100 on all platforms
// that Go supports.
const clockTicksPerSecond = 100

// A procfs reads processes from /proc and caches user names.
type procfs struct {
	root     string
	bootID   string    // identifies this boot
	bootTime time.Time // when this boot began
	users    map[uint64]string
}

func newProcfs() (*procfs, error) {
	p := &procfs{root: "/proc", users: map[uint64]string{}}
	id, err := os.ReadFile(p.root + "/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("read boot id: %w", err)
	}
	p.bootID = strings.TrimSpace(string(id))
	// /proc/stat has the boot time in whole seconds only.
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return nil, fmt.Errorf("read boot time: %w", err)
	}
	p.bootTime = time.Now().Add(-time.Duration(up.Nano()))
	return p, nil
}

// A process is a running process that has been reported.
type process struct {
	info       processInfo
	startTicks uint64 // clock ticks since boot
	startTime  time.Time
	instance   string // with the pid, unique among all processes of this host ever
	// readAt is when reading the process began, of CLOCK_MONOTONIC; 0 if it was not read.
	readAt time.Duration
}

// fingerprint identifies the process and its program among those that had its pid since
// the boot; "" if they are not known.
func (p *process) fingerprint() string {
	if p.readAt == 0 {
		return ""
	}
	program := p.info.Name
	if !strings.HasPrefix(program, "/") { // a kernel thread, whose name says what it does at the moment
		program = ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", p.startTicks, program))
	return hex.EncodeToString(sum[:8])
}

// monotonicNow returns the time of CLOCK_MONOTONIC, 0 if the kernel does not tell it.
func monotonicNow() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// read reads a process from /proc. Fields that cannot be read, because the process
// has exited or belongs to another user, stay empty.
func (f *procfs) read(pid int) (*process, error) {
	procDir := f.root + "/" + strconv.Itoa(pid)
	p := &process{info: processInfo{PID: pid, Action: "created"}, readAt: monotonicNow()}
	// These disappear first when a process exits.
	args := argumentsOf(procDir)
	p.info.Name, p.info.CommandLine = imageOf(procDir), commandline.Join(args)
	p.info.WorkingDirectory, _ = os.Readlink(procDir + "/cwd")
	stat, err := os.ReadFile(procDir + "/stat")
	if err != nil {
		return nil, err
	}
	comm, ppid, startTicks, err := parseStat(stat)
	if err != nil {
		return nil, err
	}
	p.startTicks, p.info.ParentPID = startTicks, ppid
	p.instance = fmt.Sprintf("%s %d", f.bootID, startTicks)
	p.startTime = f.bootTime.Add(time.Duration(startTicks) * time.Second / clockTicksPerSecond).UTC()
	p.info.Started = p.startTime.Format("2006-01-02T15:04:05.00Z07:00")
	if p.info.Name == "" {
		p.info.Name = comm // a kernel thread, or not permitted
	} else if len(args) > 0 {
		p.info.InvokedAs = invokedAs(procDir, &p.info, args[0], comm)
		if comm != kernelName(cmp.Or(p.info.InvokedAs, p.info.Name)) {
			p.info.Comm = comm
		}
	}
	if !commandline.Restores(p.info.CommandLine, args) {
		p.info.Args = args
	}
	p.info.User = f.userName(procDir)
	p.info.ContainerID = containerIDOf(procDir)
	return p, nil
}

// setParent fills in p's parent, from the known processes or from /proc.
func (f *procfs) setParent(p *processInfo, seen map[int]*process) {
	if p.ParentPID == 0 {
		return
	}
	if o := seen[p.ParentPID]; o != nil {
		p.ParentImage, p.ParentInvokedAs, p.ParentCommandLine = o.info.Name, o.info.InvokedAs, o.info.CommandLine
		return
	}
	procDir := f.root + "/" + strconv.Itoa(p.ParentPID)
	p.ParentCommandLine = commandline.Join(argumentsOf(procDir))
	p.ParentImage = imageOf(procDir)
}

// imageOf reads the path of a process's executable; "" if it may not.
func imageOf(procDir string) string {
	path, _ := os.Readlink(procDir + "/exe")
	return strings.TrimSuffix(path, " (deleted)")
}

// readUpTo reads up to maxBytes bytes of a file in /proc with few system calls; nil if
// it cannot.
func readUpTo(path string, maxBytes int) []byte {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	b := make([]byte, 0, min(maxBytes, 1024))
	for len(b) < maxBytes {
		got, err := unix.Read(fd, b[len(b):cap(b)])
		if err == unix.EINTR {
			continue
		}
		if err != nil || got <= 0 {
			break
		}
		if b = b[:len(b)+got]; len(b) == cap(b) {
			b = append(make([]byte, 0, min(maxBytes, 4*cap(b))), b...)
		}
	}
	return b
}

// argumentsOf reads the arguments of a process; nil if it may not.
func argumentsOf(procDir string) []string {
	b := readUpTo(procDir+"/cmdline", maxCommandLineBytes)
	if len(b) == 0 {
		return nil
	}
	return strings.Split(strings.ToValidUTF8(string(bytes.TrimRight(b, "\x00")), "\ufffd"), "\x00")
}

// parseStat parses /proc/PID/stat: the name, in parentheses and with any bytes,
// then the state, the parent, and as the 22nd field the start.
func parseStat(b []byte) (comm string, ppid int, startTicks uint64, err error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return "", 0, 0, errors.New("read stat: no name")
	}
	f := strings.Fields(string(b[end+1:]))
	if len(f) < 20 {
		return "", 0, 0, errors.New("read stat: cut short")
	}
	ppid, err = strconv.Atoi(f[1])
	if err != nil {
		return "", 0, 0, fmt.Errorf("read stat: parent: %w", err)
	}
	startTicks, err = strconv.ParseUint(f[19], 10, 64)
	if err != nil {
		return "", 0, 0, fmt.Errorf("read stat: start: %w", err)
	}
	return strings.ToValidUTF8(string(b[open+1:end]), "\ufffd"), ppid, startTicks, nil
}

// userName returns the name of the process's effective user.
func (f *procfs) userName(procDir string) string {
	status, err := os.ReadFile(procDir + "/status")
	if err != nil {
		return ""
	}
	_, rest, ok := strings.Cut(string(status), "\nUid:")
	ids := strings.Fields(rest)
	if !ok || len(ids) < 2 {
		return ""
	}
	uid, err := strconv.ParseUint(ids[1], 10, 32) // the effective one
	if err != nil {
		return ""
	}
	name, ok := f.users[uid]
	if !ok {
		name = ids[1]
		if u, err := user.LookupId(ids[1]); err == nil {
			name = u.Username
		}
		f.users[uid] = name
	}
	return name
}

// containerIDPattern is the name that Docker, containerd and Podman give to a container's
// control group.
var containerIDPattern = regexp.MustCompile(`[0-9a-f]{64}`)

func containerIDOf(procDir string) string {
	b, err := os.ReadFile(procDir + "/cgroup")
	if err != nil {
		return ""
	}
	return string(containerIDPattern.Find(b))
}

// pids lists all processes.
func (f *procfs) pids() ([]int, error) {
	d, err := os.Open(f.root)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// thisHost describes the machine.
func thisHost() hostInfo {
	h := hostInfo{OS: "Linux"}
	h.Hostname, _ = os.Hostname()
	release, _ := os.ReadFile("/etc/os-release")
	for line := range strings.Lines(string(release)) {
		if v, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			h.OSVersion = strings.Trim(strings.TrimSpace(v), `"'`)
		}
	}
	return h
}

// identity reads just enough to tell whether a pid still is the same process;
// image is "" if it may not be read.
func (f *procfs) identity(pid int) (startTicks uint64, image string, ok bool) {
	procDir := f.root + "/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(procDir + "/stat")
	if err != nil {
		return 0, "", false
	}
	if _, _, startTicks, err = parseStat(stat); err != nil {
		return 0, "", false
	}
	return startTicks, imageOf(procDir), true
}
