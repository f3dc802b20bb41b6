package normalize

import (
	"strings"

	"github.com/picket-edr/picket/internal/flatjson"
)

// auditbeatFormat is the format of audit events that Auditbeat has joined, and of audit
// records from Filebeat's auditd module: partly ECS, the rest under auditd.
var auditbeatFormat = format{
	name:           "auditbeat",
	discriminators: [][]string{{"auditd.data|auditd.message_type|auditd.log"}},
	fieldNames:     ecsFormat.fieldNames,
	ignored: func(path string) bool {
		return strings.HasPrefix(path, "auditd.data.") || strings.HasPrefix(path, "auditd.paths.") || strings.HasPrefix(path, "auditd.log.")
	},
	agentPaths:    ecsFormat.agentPaths,
	hostPaths:     ecsFormat.hostPaths,
	timePaths:     ecsFormat.timePaths,
	classKeyPaths: []string{"auditd.message_type", "auditd.log.record_type", "event.action"},
	classify: func(r *Reader, d *Event, _, typ string) *Class {
		r.resetText(d)
		a := &r.auditEvent
		a.reset(d.text.fields)
		a.beginRecord(strings.ToUpper(typ))
		a.addAuditbeat(d)
		// The sender has joined the records already.
		a.records = 2
		return r.finishAudit(d, d.Time, true)
	},
}

// auditbeatToAuditd are where Auditbeat puts what records call otherwise.
var auditbeatToAuditd = map[string]string{
	"process.executable":        "exe",
	"process.name":              "comm",
	"process.pid":               "pid",
	"process.parent.pid":        "ppid",
	"process.ppid":              "ppid",
	"process.exe":               "exe",
	"tags":                      "key",
	"user.id":                   "uid",
	"user.name":                 "UID",
	"user.audit.id":             "auid",
	"user.audit.name":           "AUID",
	"user.effective.id":         "euid",
	"auditd.session":            "ses",
	"auditd.result":             "result",
	"process.working_directory": "cwd",
	"process.title":             "proctitle",
}

// addAuditbeat adds a whole event: first the fields of its SYSCALL record, or of its
// only record, then those of the other records.
func (a *auditEvent) addAuditbeat(d *Event) {
	typ := a.last
	for k := range d.leaves {
		a.addAuditbeatField(&d.leaves[k])
	}
	if a.cwd != "" {
		a.emit("cwd", a.cwd)
	}
	a.addAuditbeatArguments(d)
	a.addAuditbeatPaths(d)
	if typ == "SYSCALL" && a.success == "fail" {
		a.success = "no"
	}
}

func (a *auditEvent) addAuditbeatField(l *flatjson.Leaf) {
	name, ok := auditbeatToAuditd[l.Path.Name]
	if !ok {
		if name, ok = strings.CutPrefix(l.Path.Name, "auditd.data."); !ok {
			if name, ok = strings.CutPrefix(l.Path.Name, "auditd.log."); !ok {
				return
			}
		}
	}
	value := l.Value.Text
	switch name {
	case "cwd":
		a.cwd = value
	case "proctitle":
		a.title = append(a.title, value)
	case "result":
		a.success = value
	case "socket.addr":
		a.setAddress(value, a.port)
	case "socket.port":
		a.port = value
	case "syscall":
		a.syscall = value
		a.emit("SYSCALL", value)
	case "record_type", "sequence":
	default:
		a.add(name, value)
		if p := a.syscallField(name); p != nil {
			*p = value
		}
		if name == "UID" {
			a.user = value
		}
	}
}

// addAuditbeatArguments adds the arguments of a started program.
func (a *auditEvent) addAuditbeatArguments(d *Event) {
	if a.syscall != "execve" && a.syscall != "execveat" {
		return
	}
	for k := range d.leaves {
		if l := &d.leaves[k]; l.Path.Name == "process.args" {
			if !a.executed {
				a.beginRecord("EXECVE")
			}
			a.add(argumentName(len(a.args)), l.Value.Text)
		}
	}
}

// addAuditbeatPaths adds the files of a system call.
func (a *auditEvent) addAuditbeatPaths(d *Event) {
	begun := false
	for k := range d.leaves {
		name, ok := strings.CutPrefix(d.leaves[k].Path.Name, "auditd.paths.")
		if !ok {
			continue
		}
		if !begun {
			a.beginRecord("PATH")
			begun = true
		}
		a.add(name, d.leaves[k].Value.Text)
	}
}
