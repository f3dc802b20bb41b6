package shape

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/picket-edr/picket/internal/flatjson"
)

// laurel is an event of the Linux audit system as Laurel joins it: a member for
// each type of record.
var laurel = mapping{
	name:  "laurel",
	signs: [][]string{{"ID", laurelTypes()}},
	hide:  func(path string) bool { return laurelRecord(path) != "" },
	host:  append([]string{"NODE"}, generic.host...),
	agent: generic.agent,
	time:  generic.time,
	key:   []string{"ID"},
	route: func(r *Reader, d *Doc, _, id string) *Route {
		r.hold(d)
		a := &r.audit
		a.reset(d.in.fields)
		for k := range d.leaves {
			a.addLaurel(&d.leaves[k])
		}
		return r.endAudit(d, auditTime(id), true)
	},
}

// laurelTypes are the types of records that tell Laurel. Short names, as PATH,
// others use too; they come with a SYSCALL.
func laurelTypes() string {
	types := slices.Sorted(maps.Values(auditTypes))
	return strings.Join(slices.DeleteFunc(types, func(t string) bool { return len(t) <= len("LOGIN") }), "|")
}

// laurelRecord is the type of the record that a path is in: all of Laurel's are
// in capitals. What Laurel adds of the parent is none.
func laurelRecord(path string) string {
	typ, _, ok := strings.Cut(path, ".")
	if !ok || strings.ContainsFunc(typ, func(c rune) bool { return (c < 'A' || c > 'Z') && c != '_' && (c < '0' || c > '9') }) {
		return ""
	}
	return typ
}

// addLaurel takes one scalar. It stands under RECORD.name, deeper where Laurel
// adds to it, or is one of a list of arguments.
func (a *audit) addLaurel(l *flatjson.Leaf) {
	typ := laurelRecord(l.Path.Name)
	if typ == "" {
		return
	}
	name, value := l.Path.Name[len(typ)+1:], unpercent(l.Value.Text)
	if a.addParent(typ, name, value) {
		return
	}
	if typ != a.last {
		a.begin(typ)
	}
	switch l.Path.Name {
	case "EXECVE.ARGV":
		a.add(argument(len(a.args)), value)
	case "EXECVE.ARGV_STR":
		a.executed, a.line = true, value
	case "SYSCALL.ARGV":
		a.addPointer(value)
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

// addParent takes what Laurel, in one version or another, knows of the parent.
func (a *audit) addParent(typ, name, value string) bool {
	if typ == "SYSCALL" {
		var ok bool
		if name, ok = strings.CutPrefix(name, "PPID."); !ok {
			return false
		}
	} else if typ != "PARENT_INFO" && typ != "PPID" {
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

// addPointer takes the next argument of a call.
func (a *audit) addPointer(value string) {
	for i := range a.pointers {
		if a.pointers[i] == "" {
			a.pointers[i] = strings.TrimPrefix(value, "0x")
			return
		}
	}
}

// unpercent undoes Laurel's way to write bytes that are no text in JSON.
func unpercent(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	plain, err := url.PathUnescape(s)
	if err != nil {
		return s
	}
	return strings.ToValidUTF8(plain, "\ufffd")
}
