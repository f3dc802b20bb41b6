package shape

import (
	"strconv"
	"strings"
	"time"

	"github.com/picket-edr/picket/sigma"
)

// An audit is one event of the Linux audit system, however its sender writes
// it: the fields of its records under their own names, as rules for the service
// auditd ask for them, and what the records say together, under the names of
// rules for a category.
type audit struct {
	fields []sigma.Field

	records    int
	last       string // type of the record being read
	args       []string
	parentArgs []string
	pointers   [4]string // arguments of the system call
	title      []string
	cwd        string
	path       string // of the PATH being read

	syscall, arch, success    string
	exe, pid, ppid, uid, user string
	auid, ses                 string
	parentImage, line         string
	ip, port                  string
	created, deleted          []string
	executed                  bool
}

// reset makes a ready for the next event; the fields go on in dst.
func (a *audit) reset(dst []sigma.Field) {
	*a = audit{
		fields: dst[:0], args: a.args[:0], title: a.title[:0], parentArgs: a.parentArgs[:0],
		created: a.created[:0], deleted: a.deleted[:0],
	}
}

func (a *audit) emit(name, value string) {
	if value != "" && value != "(null)" {
		a.fields = append(a.fields, sigma.Field{Name: name, Value: sigma.Value{Kind: sigma.String, Text: value}})
	}
}

// begin starts a record.
func (a *audit) begin(typ string) {
	a.last, a.path = typ, ""
	a.records++
	a.emit("type", typ)
}

// add takes a field of the record that was begun, its value decoded.
func (a *audit) add(name, value string) {
	switch a.last {
	case "SYSCALL":
		a.addSyscall(name, value)
		return
	case "EXECVE":
		a.executed = true
		if isArgument(name) {
			a.args = append(a.args, value)
		}
	case "CWD":
		if name == "cwd" {
			a.cwd = value
		}
	case "PATH":
		a.addPath(name, value)
	case "PROCTITLE":
		if name == "proctitle" {
			a.title = append(a.title, value)
		}
	case "SOCKADDR":
		if name == "saddr" {
			a.setAddress(sockaddr(value))
		}
	}
	a.put(name, value)
}

// put emits a field; several keys are one value, with a control character
// between.
func (a *audit) put(name, value string) {
	if name != "key" {
		a.emit(name, value)
		return
	}
	for key := range strings.SplitSeq(value, "\x01") {
		a.emit(name, key)
	}
}

// addSyscall keeps the four arguments of a call back: beside the arguments of a
// program they are addresses that mean nothing, under the same names.
func (a *audit) addSyscall(name, value string) {
	switch name {
	case "a0", "a1", "a2", "a3":
		a.pointers[name[1]-'0'] = strings.TrimPrefix(value, "0x")
		return
	case "syscall":
		if a.syscall == "" {
			a.syscall = value
		}
	case "SYSCALL":
		a.syscall = value
	case "UID":
		a.user = value
	default:
		if p := a.fact(name); p != nil {
			*p = value
		}
	}
	a.put(name, value)
}

// fact is where a field of a SYSCALL record is kept, nil for one that is not.
func (a *audit) fact(name string) *string {
	switch name {
	case "arch":
		return &a.arch
	case "success":
		return &a.success
	case "exe":
		return &a.exe
	case "pid":
		return &a.pid
	case "ppid":
		return &a.ppid
	case "uid":
		return &a.uid
	case "auid":
		return &a.auid
	case "ses":
		return &a.ses
	}
	return nil
}

func (a *audit) addPath(name, value string) {
	switch name {
	case "name":
		a.path = value
	case "nametype", "objtype": // the older name
		file := a.path
		if !strings.HasPrefix(file, "/") && a.cwd != "" {
			file = strings.TrimSuffix(a.cwd, "/") + "/" + file
		}
		switch {
		case a.path == "":
		case value == "CREATE":
			a.created = append(a.created, file)
		case value == "DELETE":
			a.deleted = append(a.deleted, file)
		}
	}
}

func (a *audit) setAddress(ip, port string) {
	if ip != "" {
		a.ip, a.port = ip, port
	}
}

// isArgument reports whether a field is an argument of a program: a0, a1, ….
func isArgument(name string) bool { return len(name) > 1 && name[0] == 'a' && digits(name[1:]) >= 0 }

// argument is the name of the nth argument.
func argument(n int) string {
	if n < 10 {
		return "a0a1a2a3a4a5a6a7a8a9"[2*n : 2*n+2]
	}
	return "a" + strconv.Itoa(n)
}

// The categories that an event can have together, and a bit for each.
const (
	auditExec = 1 << iota
	auditConnect
	auditCreate
	auditDelete
	auditCombinations
)

var auditCategories = [...]string{"process_creation", "network_connection", "file_event", "file_delete"}

// end finishes the event and returns its categories. joined is whether all
// records are of one event.
func (a *audit) end(joined bool) int {
	if _, err := strconv.Atoi(a.syscall); err == nil {
		a.syscall = syscalls[strings.TrimPrefix(a.arch, "0x")][a.syscall]
		a.emit("SYSCALL", a.syscall)
	}
	if !a.executed {
		for n, p := range a.pointers {
			a.emit(argument(n), p)
		}
	}
	if !joined || a.records < 2 {
		return 0
	}
	of := 0
	exec := a.syscall == "execve" || a.syscall == "execveat" || a.syscall == "" && a.executed
	if exec && a.exe != "" && a.success != "no" && (a.executed || len(a.title) > 0) {
		of |= auditExec
	}
	if a.ip != "" && a.syscall == "connect" {
		of |= auditConnect
	}
	if len(a.created) > 0 && a.success != "no" {
		of |= auditCreate
	}
	if len(a.deleted) > 0 && a.success != "no" {
		of |= auditDelete
	}
	a.join(of)
	return of
}

// join adds the fields of the categories.
func (a *audit) join(of int) {
	if of == 0 {
		return
	}
	a.emit("Image", a.exe)
	a.emit("ProcessId", a.pid)
	a.emit("User", a.userName())
	a.emit("LogonId", a.logon())
	if of&auditExec != 0 {
		a.emit("CommandLine", a.commandLine())
		a.emit("CurrentDirectory", a.cwd)
		a.emit("ParentProcessId", a.ppid)
		a.emit("ParentImage", a.parentImage)
		a.emit("ParentCommandLine", strings.Join(a.parentArgs, " "))
	}
	if of&auditConnect != 0 {
		a.emit("DestinationIp", a.ip)
		a.emit("DestinationPort", a.port)
		a.emit("Initiated", "true")
	}
	if of&auditCreate != 0 {
		for _, file := range a.created {
			a.emit("TargetFilename", file)
		}
	}
	if of&auditDelete != 0 {
		for _, file := range a.deleted {
			a.emit("TargetFilename", file)
		}
	}
}

func (a *audit) commandLine() string {
	switch {
	case a.line != "":
		return a.line
	case len(a.args) > 0:
		return strings.Join(a.args, " ")
	}
	return strings.Join(a.title, " ")
}

func (a *audit) userName() string {
	switch {
	case a.user != "":
		return a.user
	case a.uid == "0": // the one uid that is the same everywhere
		return "root"
	}
	return a.uid
}

// logon is the session's user, and of what no session started, as daemons, the
// process's.
func (a *audit) logon() string {
	for _, id := range []string{a.auid, a.ses, a.uid} {
		if id != "" && id != "4294967295" && id != "-1" && id != "unset" {
			return id
		}
	}
	return ""
}

// auditRoute is the route of an event with these categories. All of them are
// the service's too.
func auditRoute(r *Reader, of int) *Route {
	return r.routed(routeKey{shape: auditRoutes, os: "linux", typ: "auditd", more: auditCombined[of]}, func() Route {
		rt := Route{Type: "auditd", OS: "linux"}
		for i, category := range auditCategories {
			if of&(1<<i) == 0 {
				continue
			}
			if len(rt.Sources) == 0 {
				rt.Type = category
			}
			rt.Sources = append(rt.Sources, sigma.LogSource{Product: "linux", Category: category, Service: "auditd"})
		}
		if len(rt.Sources) == 0 {
			rt.Sources = []sigma.LogSource{{Product: "linux", Service: "auditd"}}
		}
		return rt
	})
}

// auditCombined names the combinations of categories.
var auditCombined = func() (names [auditCombinations]string) {
	for of := range names {
		names[of] = strconv.Itoa(of)
	}
	return names
}()

// endAudit finishes the event of r.audit.
func (r *Reader) endAudit(d *Doc, at time.Time, joined bool) *Route {
	of := r.audit.end(joined)
	d.in.fields = r.audit.fields
	if !at.IsZero() { // a forwarder's is later
		d.Time = at
	}
	return auditRoute(r, of)
}
