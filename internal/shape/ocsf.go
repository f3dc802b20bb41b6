package shape

import (
	"strings"

	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/sigma"
)

// ocsf is an event of the Open Cybersecurity Schema Framework, classes
// 1001 (file), 1007 (process), 4001 (network) and 4003 (DNS).
var ocsf = mapping{
	name:  "ocsf",
	signs: [][]string{{"class_uid", "metadata"}},
	fields: map[string][]string{
		"process.file.path":                {"Image"},
		"process.cmd_line":                 {"CommandLine"},
		"process.pid":                      {"ProcessId"},
		"process.parent_process.file.path": {"ParentImage"},
		"process.parent_process.cmd_line":  {"ParentCommandLine"},
		"process.parent_process.pid":       {"ParentProcessId"},
		"actor.user.name":                  {"User"},
		"file.path":                        {"TargetFilename"},
		"dst_endpoint.ip":                  {"DestinationIp"},
		"dst_endpoint.port":                {"DestinationPort"},
		"dst_endpoint.hostname":            {"DestinationHostname"},
		"src_endpoint.ip":                  {"SourceIp"},
		"src_endpoint.port":                {"SourcePort"},
		"query.hostname":                   {"QueryName"},
		"device.hostname":                  {"Computer"},
	},
	id:    []string{"metadata.uid"},
	agent: []string{"device.uid"},
	host:  []string{"device.hostname", "device.name", "device.uid"},
	time:  []string{"time"},
	os:    []string{"device.os.type", "device.os.name"},
	key:   []string{"class_uid"},
	route: func(r *Reader, d *Doc, os, class string) *Route {
		system := osOf(os)
		if system == "" && strings.Contains(d.get("metadata.product.name"), "Windows") {
			system = "windows"
		}
		category := map[string]string{
			"1001": "file_event", "1007": "process_creation", "4001": "network_connection", "4003": "dns_query",
		}[class]
		if activity := d.get("activity_id"); class == "1007" && activity == "2" {
			category = "process_termination"
		} else if class == "1001" && activity == "4" {
			category = "file_delete"
		}
		typ := category
		if typ == "" {
			typ = "ocsf"
		}
		return r.categoryRoute(d.m, system, typ, category)
	},
	derive: func(d *Doc, dst []sigma.Field) []sigma.Field {
		// A process that starts has its parent as actor.
		if d.get("class_uid") == "1007" && d.get("process.parent_process.file.path") == "" {
			dst = appendField(dst, "ParentImage", d.get("actor.process.file.path"))
			return appendField(dst, "ParentCommandLine", d.get("actor.process.cmd_line"))
		}
		if d.get("process.file.path") == "" {
			return appendField(dst, "Image", d.get("actor.process.file.path"))
		}
		return dst
	},
}

// tracee is an event of Aqua Tracee: v1beta1 with workload, or the older form
// with eventName.
var tracee = mapping{
	name:  "tracee",
	signs: [][]string{{"workload.process", "name"}, {"eventName", "args", "processId"}},
	fields: map[string][]string{
		"workload.process.executable.path": {"Image"},
		"workload.process.pid.value":       {"ProcessId"},
		"workload.process.pid":             {"ProcessId"},
		"executable.path":                  {"Image"},
		"processId":                        {"ProcessId"},
		"parentProcessId":                  {"ParentProcessId"},
		"hostName":                         {"Computer"},
	},
	host: []string{"hostName", "workload.host.name"},
	time: []string{"timestamp", "timestamp.seconds"},
	key:  []string{"eventName", "name"},
	route: func(r *Reader, d *Doc, _, name string) *Route {
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
		return linuxRoute(r, d, category)
	},
	derive: traceeDerive,
}

// traceeDerive finds the arguments, which Tracee lists as name and value: the
// flat leaves have them in that order.
func traceeDerive(d *Doc, dst []sigma.Field) []sigma.Field {
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
