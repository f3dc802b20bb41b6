package normalize

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/picket-edr/picket/internal/flatjson"
)

// laurelFormat is an audit event as Laurel joins it: a member for each record type.
var laurelFormat = format{
	name:           "laurel",
	discriminators: [][]string{{"ID", laurelTypeDiscriminator()}},
	ignored:        func(path string) bool { return laurelRecordType(path) != "" },
	hostPaths:      append([]string{"NODE"}, genericFormat.hostPaths...),
	agentPaths:     genericFormat.agentPaths,
	timePaths:      genericFormat.timePaths,
	classKeyPaths:  []string{"ID"},
	classify: func(r *Reader, d *Event, _, id string) *Class {
		r.resetText(d)
		a := &r.auditEvent
		a.reset(d.text.fields)
		for k := range d.leaves {
			a.addLaurel(&d.leaves[k])
		}
		return r.finishAudit(d, parseAuditTime(id), true)
	},
}

// laurelTypeDiscriminator are the record types that identify Laurel. Short names such as PATH
// occur in other formats too, so they are not enough without SYSCALL.
func laurelTypeDiscriminator() string {
	types := slices.Sorted(maps.Values(auditRecordTypesByNumber))
	return strings.Join(slices.DeleteFunc(types, func(t string) bool { return len(t) <= len("LOGIN") }), "|")
}

// laurelRecordType returns the record type of a path, "" if the path is not in a
// record. Laurel writes record types in capitals.
func laurelRecordType(path string) string {
	typ, _, ok := strings.Cut(path, ".")
	if !ok || strings.ContainsFunc(typ, func(c rune) bool { return (c < 'A' || c > 'Z') && c != '_' && (c < '0' || c > '9') }) {
		return ""
	}
	return typ
}

// addLaurel adds one scalar. Its path is RECORD.name, or deeper in fields that
// Laurel adds, or it is an element of a list of arguments.
func (a *auditEvent) addLaurel(l *flatjson.Leaf) {
	typ := laurelRecordType(l.Path.Name)
	if typ == "" {
		return
	}
	name, value := l.Path.Name[len(typ)+1:], decodePercent(l.Value.Text)
	if a.addParentField(typ, name, value) {
		return
	}
	if typ != a.last {
		a.beginRecord(typ)
	}
	switch l.Path.Name {
	case "EXECVE.ARGV":
		a.add(argumentName(len(a.args)), value)
	case "EXECVE.ARGV_STR":
		a.executed, a.line = true, value
	case "SYSCALL.ARGV":
		a.addSyscallArgument(value)
	case "PROCTITLE.ARGV":
		a.title = append(a.title, value)
	case "SOCKADDR.SADDR.addr":
		a.setAddress(value, a.port)
	case "SOCKADDR.SADDR.port":
		a.port = value
	default:
		a.add(name, value)
	}
}

// addParentField adds a field of the parent process, in the forms of all Laurel
// versions.
func (a *auditEvent) addParentField(recordType, name, value string) (added bool) {
	if recordType == "SYSCALL" {
		var ok bool
		if name, ok = strings.CutPrefix(name, "PPID."); !ok {
			return false
		}
	} else if recordType != "PARENT_INFO" && recordType != "PPID" {
		return false
	}
	switch strings.ToLower(name) {
	case "exe":
		a.parentImage = value
	case "argv", "argv_str":
		a.parentArgs = append(a.parentArgs, value)
	}
	a.emit("PPID."+name, value)
	return true
}

// addSyscallArgument adds the next argument of a system call.
func (a *auditEvent) addSyscallArgument(value string) {
	for i := range a.pointers {
		if a.pointers[i] == "" {
			a.pointers[i] = strings.TrimPrefix(value, "0x")
			return
		}
	}
}

// decodePercent decodes Laurel's percent encoding of bytes that are not UTF-8.
func decodePercent(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	plain, err := url.PathUnescape(s)
	if err != nil {
		return s
	}
	return strings.ToValidUTF8(plain, "\ufffd")
}
