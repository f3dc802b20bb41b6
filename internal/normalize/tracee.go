package normalize

import (
	"strings"

	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/sigma"
)

// traceeFormat is an event of Aqua Tracee: v1beta1 with workload, or the older format
// with eventName.
var traceeFormat = format{
	name:           "tracee",
	discriminators: [][]string{{"workload.process", "name"}, {"eventName", "args", "processId"}},
	fieldNames: map[string][]string{
		"workload.process.executable.path": {"Image"},
		"workload.process.pid.value":       {"ProcessId"},
		"workload.process.pid":             {"ProcessId"},
		"executable.path":                  {"Image"},
		"processId":                        {"ProcessId"},
		"parentProcessId":                  {"ParentProcessId"},
		"hostName":                         {"Computer"},
	},
	hostPaths:     []string{"hostName", "workload.host.name"},
	timePaths:     []string{"timestamp", "timestamp.seconds"},
	classKeyPaths: []string{"eventName", "name"},
	classify: func(r *Reader, d *Event, _, name string) *Class {
		category := ""
		switch name {
		case "sched_process_exec", "execve", "execveat":
			category = "process_creation"
		case "sched_process_exit":
			category = "process_termination"
		case "net_tcp_connect", "security_socket_connect", "connect":
			category = "network_connection"
		case "security_file_open", "openat", "open", "vfs_write", "security_inode_rename":
			category = "file_event"
		case "security_inode_unlink":
			category = "file_delete"
		}
		return linuxClass(r, d, category)
	},
	derive: deriveTraceeFields,
}

// deriveTraceeFields appends the arguments, which Tracee lists as name and value. The
// leaves of an argument are in that order.
func deriveTraceeFields(d *Event, dst []sigma.Field) []sigma.Field {
	name, argv := "", []string(nil)
	d.Each(func(l flatjson.Leaf) {
		switch v := l.Value; l.Path.Name {
		case "args.name", "data.name":
			name = v.Text
		case "args.value", "data.str", "data.str_array.value":
			switch name {
			case "argv":
				argv = append(argv, v.Text)
			case "pathname":
				dst = appendField(dst, "TargetFilename", v.Text)
			case "prev_comm", "parent_process_name":
				dst = appendField(dst, "ParentImage", v.Text)
			}
		}
	})
	return appendField(dst, "CommandLine", strings.Join(argv, " "))
}
