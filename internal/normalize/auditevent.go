package normalize

import (
	"strconv"
	"strings"
	"time"

	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/sigma"
)

// An auditEvent is one event of the Linux audit system, however its sender writes
// it: the fields of its records under their own names, as rules for the service
// auditd ask for them, and what the records say together, under the names of
// rules for a category.
type auditEvent struct {
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

// dropReferences drops all references to the last event.
func (a *auditEvent) dropReferences() {
	*a = auditEvent{
		args: flatjson.ClearForReuse(a.args), title: flatjson.ClearForReuse(a.title), parentArgs: flatjson.ClearForReuse(a.parentArgs),
		created: flatjson.ClearForReuse(a.created), deleted: flatjson.ClearForReuse(a.deleted),
	}
}

// reset prepares for the next event, whose fields are appended to dst.
func (a *auditEvent) reset(dst []sigma.Field) {
	*a = auditEvent{
		fields: dst[:0], args: a.args[:0], title: a.title[:0], parentArgs: a.parentArgs[:0],
		created: a.created[:0], deleted: a.deleted[:0],
	}
}

func (a *auditEvent) emit(name, value string) {
	if value != "" && value != "(null)" {
		a.fields = append(a.fields, sigma.Field{Name: name, Value: sigma.Value{Kind: sigma.String, Text: value}})
	}
}

// beginRecord starts the record of a type.
func (a *auditEvent) beginRecord(recordType string) {
	a.last, a.path = recordType, ""
	a.records++
	a.emit("type", recordType)
}

// add adds a field of the current record, with its value decoded.
func (a *auditEvent) add(name, decodedValue string) {
	switch a.last {
	case "SYSCALL":
		a.addSyscallField(name, decodedValue)
		return
	case "EXECVE":
		a.executed = true
		if isArgument(name) {
			a.args = append(a.args, decodedValue)
		}
	case "CWD":
		if name == "cwd" {
			a.cwd = decodedValue
		}
	case "PATH":
		a.collectChangedFile(name, decodedValue)
	case "PROCTITLE":
		if name == "proctitle" {
			a.title = append(a.title, decodedValue)
		}
	case "SOCKADDR":
		if name == "saddr" {
			a.setAddress(parseSockaddr(decodedValue))
		}
	}
	a.emitSplitRuleKeys(name, decodedValue)
}

// emitSplitRuleKeys emits a field. Several keys in one value are separated by a control
// character, and are emitted as one field each.
func (a *auditEvent) emitSplitRuleKeys(name, value string) {
	if name != "key" {
		a.emit(name, value)
		return
	}
	for key := range strings.SplitSeq(value, "\x01") {
		a.emit(name, key)
	}
}

// addSyscallField holds the four arguments of a system call back: if there also are
// arguments of a program, which have the same names, they are only addresses.
func (a *auditEvent) addSyscallField(name, value string) {
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
		if p := a.syscallField(name); p != nil {
			*p = value
		}
	}
	a.emitSplitRuleKeys(name, value)
}

// syscallField returns where a field of a SYSCALL record is kept, nil if it is not.
func (a *auditEvent) syscallField(name string) *string {
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

func (a *auditEvent) collectChangedFile(name, value string) {
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

func (a *auditEvent) setAddress(ip, port string) {
	if ip != "" {
		a.ip, a.port = ip, port
	}
}

// isArgument reports whether a field is an argument of a program: a0, a1, ….
func isArgument(name string) bool {
	return len(name) > 1 && name[0] == 'a' && parseDigits(name[1:]) >= 0
}

// argumentName returns the name of the nth argument.
func argumentName(index int) string {
	if index < 10 {
		return "a0a1a2a3a4a5a6a7a8a9"[2*index : 2*index+2]
	}
	return "a" + strconv.Itoa(index)
}

// Bits for the categories of an event, which can have several.
const (
	auditProcessCreationBit = 1 << iota
	auditNetworkConnectionBit
	auditFileEventBit
	auditFileDeleteBit
	auditCategorySetCount
)

var auditCategoriesByBit = [...]string{"process_creation", "network_connection", "file_event", "file_delete"}

// finish completes the event and returns its categories. sameEvent says that all
// records belong to the same event.
func (a *auditEvent) finish(sameEvent bool) (categoryBits int) {
	if _, err := strconv.Atoi(a.syscall); err == nil {
		a.syscall = syscallNames[strings.TrimPrefix(a.arch, "0x")][a.syscall]
		a.emit("SYSCALL", a.syscall)
	}
	if !a.executed {
		for n, p := range a.pointers {
			a.emit(argumentName(n), p)
		}
	}
	if !sameEvent || a.records < 2 {
		return 0
	}
	exec := a.syscall == "execve" || a.syscall == "execveat" || a.syscall == "" && a.executed
	if exec && a.exe != "" && a.success != "no" && (a.executed || len(a.title) > 0) {
		categoryBits |= auditProcessCreationBit
	}
	if a.ip != "" && a.syscall == "connect" {
		categoryBits |= auditNetworkConnectionBit
	}
	if len(a.created) > 0 && a.success != "no" {
		categoryBits |= auditFileEventBit
	}
	if len(a.deleted) > 0 && a.success != "no" {
		categoryBits |= auditFileDeleteBit
	}
	a.addCategoryFields(categoryBits)
	return categoryBits
}

// addCategoryFields appends the fields for rules of the categories.
func (a *auditEvent) addCategoryFields(categoryBits int) {
	if categoryBits == 0 {
		return
	}
	a.emit("Image", a.exe)
	a.emit("ProcessId", a.pid)
	a.emit("User", a.userName())
	a.emit("LogonId", a.loginOrProcessUID())
	if categoryBits&auditProcessCreationBit != 0 {
		a.emit("CommandLine", a.commandLine())
		a.emit("CurrentDirectory", a.cwd)
		a.emit("ParentProcessId", a.ppid)
		a.emit("ParentImage", a.parentImage)
		a.emit("ParentCommandLine", strings.Join(a.parentArgs, " "))
	}
	if categoryBits&auditNetworkConnectionBit != 0 {
		a.emit("DestinationIp", a.ip)
		a.emit("DestinationPort", a.port)
		a.emit("Initiated", "true")
	}
	if categoryBits&auditFileEventBit != 0 {
		for _, file := range a.created {
			a.emit("TargetFilename", file)
		}
	}
	if categoryBits&auditFileDeleteBit != 0 {
		for _, file := range a.deleted {
			a.emit("TargetFilename", file)
		}
	}
}

func (a *auditEvent) commandLine() string {
	switch {
	case a.line != "":
		return a.line
	case len(a.args) > 0:
		return strings.Join(a.args, " ")
	}
	return strings.Join(a.title, " ")
}

func (a *auditEvent) userName() string {
	switch {
	case a.user != "":
		return a.user
	case a.uid == "0": // the only uid with the same name on every system
		return "root"
	}
	return a.uid
}

// loginOrProcessUID returns the user of the session or, for daemons, which have no session,
// the user of the process.
func (a *auditEvent) loginOrProcessUID() string {
	for _, id := range []string{a.auid, a.ses, a.uid} {
		if id != "" && id != "4294967295" && id != "-1" && id != "unset" {
			return id
		}
	}
	return ""
}

// auditClass returns the class of an event with these categories. All audit events
// also belong to the service auditd.
func auditClass(r *Reader, categoryBits int) *Class {
	return r.internClass(classKey{format: classKeyAnyAudit, os: "linux", typ: "auditd", more: auditClassKeysByCategories[categoryBits]}, func() Class {
		rt := Class{Type: "auditd", OS: "linux"}
		for i, category := range auditCategoriesByBit {
			if categoryBits&(1<<i) == 0 {
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

// auditClassKeysByCategories are the class keys of the sets of categories.
var auditClassKeysByCategories = func() (names [auditCategorySetCount]string) {
	for of := range names {
		names[of] = strconv.Itoa(of)
	}
	return names
}()

// finishAudit completes r.auditEvent and returns its class.
func (r *Reader) finishAudit(d *Event, at time.Time, sameEvent bool) *Class {
	categoryBits := r.auditEvent.finish(sameEvent)
	d.text.fields = r.auditEvent.fields
	if !at.IsZero() { // the time of a forwarder is later
		d.Time = at
	}
	return auditClass(r, categoryBits)
}
