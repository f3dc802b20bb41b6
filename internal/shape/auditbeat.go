package shape

import (
	"strings"

	"github.com/picket-edr/picket/internal/flatjson"
)

// auditbeat is an event of the Linux audit system as Auditbeat joins it, or a
// record of it as Filebeat's module for auditd reads it: part ECS, the rest
// under auditd.
var auditbeat = mapping{
	name:   "auditbeat",
	signs:  [][]string{{"auditd.data|auditd.message_type|auditd.log"}},
	fields: ecs.fields,
	hide: func(path string) bool {
		return strings.HasPrefix(path, "auditd.data.") || strings.HasPrefix(path, "auditd.paths.") || strings.HasPrefix(path, "auditd.log.")
	},
	agent: ecs.agent,
	host:  ecs.host,
	time:  ecs.time,
	key:   []string{"auditd.message_type", "auditd.log.record_type", "event.action"},
	route: func(r *Reader, d *Doc, _, typ string) *Route {
		r.hold(d)
		a := &r.audit
		a.reset(d.in.fields)
		a.begin(strings.ToUpper(typ))
		a.addBeat(d)
		// The sender has joined what there was.
		a.records = 2
		return r.endAudit(d, d.Time, true)
	},
}

// beatFields are where Auditbeat puts what records call otherwise.
var beatFields = map[string]string{
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

// addBeat takes an event whole: the fields of its SYSCALL, or of the one record
// that it is, first, and then those of the records that go with it.
func (a *audit) addBeat(d *Doc) {
	typ := a.last
	for k := range d.leaves {
		a.addBeatField(&d.leaves[k])
	}
	if a.cwd != "" {
		a.emit("cwd", a.cwd)
	}
	a.addBeatArguments(d)
	a.addBeatPaths(d)
	if typ == "SYSCALL" && a.success == "fail" {
		a.success = "no"
	}
}

func (a *audit) addBeatField(l *flatjson.Leaf) {
	name, ok := beatFields[l.Path.Name]
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
		if p := a.fact(name); p != nil {
			*p = value
		}
		if name == "UID" {
			a.user = value
		}
	}
}

// addBeatArguments takes the arguments of a program that was started.
func (a *audit) addBeatArguments(d *Doc) {
	if a.syscall != "execve" && a.syscall != "execveat" {
		return
	}
	for k := range d.leaves {
		if l := &d.leaves[k]; l.Path.Name == "process.args" {
			if !a.executed {
				a.begin("EXECVE")
			}
			a.add(argument(len(a.args)), l.Value.Text)
		}
	}
}

// addBeatPaths takes the files of a call.
func (a *audit) addBeatPaths(d *Doc) {
	begun := false
	for k := range d.leaves {
		name, ok := strings.CutPrefix(d.leaves[k].Path.Name, "auditd.paths.")
		if !ok {
			continue
		}
		if !begun {
			a.begin("PATH")
			begun = true
		}
		a.add(name, d.leaves[k].Value.Text)
	}
}
