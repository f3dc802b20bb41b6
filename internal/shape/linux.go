package shape

import (
	"strings"

	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/sigma"
)

// kunai is an event of Kunai, the eBPF sensor (kunai.rocks).
var kunai = mapping{
	name:  "kunai",
	signs: [][]string{{"info.event.source", "info.event.name", "data"}, {"info.task", "info.event.id", "data"}},
	fields: map[string][]string{
		"data.exe.path":            {"Image"},
		"data.command_line":        {"CommandLine"},
		"data.parent_exe":          {"ParentImage"},
		"data.parent_command_line": {"ParentCommandLine"},
		"data.exe.md5":             {"md5"},
		"data.exe.sha1":            {"sha1"},
		"data.exe.sha256":          {"sha256"},
		"data.path":                {"TargetFilename"},
		"data.query":               {"QueryName"},
		"data.dst.ip":              {"DestinationIp"},
		"data.dst.port":            {"DestinationPort"},
		"data.dst.hostname":        {"DestinationHostname"},
		"data.src.ip":              {"SourceIp"},
		"data.src.port":            {"SourcePort"},
		"data.proto":               {"Protocol"},
		"data.cwd":                 {"CurrentDirectory"},
		"info.task.pid":            {"ProcessId"},
		"info.task.user":           {"User"},
		"info.task.guuid":          {"ProcessGuid"},
		"info.parent_task.pid":     {"ParentProcessId"},
		"info.parent_task.user":    {"ParentUser"},
		"info.parent_task.guuid":   {"ParentProcessGuid"},
		"info.host.name":           {"Computer"},
	},
	id:    []string{"info.event.uuid"},
	agent: []string{"info.host.uuid"},
	host:  []string{"info.host.name", "info.host.uuid"},
	time:  []string{"info.utc_time"},
	key:   []string{"info.event.name"},
	route: func(r *Reader, d *Doc, _, name string) *Route {
		category := ""
		switch name {
		case "execve", "execve_script":
			category = "process_creation"
		case "exit", "exit_group":
			category = "process_termination"
		case "connect", "send_data":
			category = "network_connection"
		case "dns_query":
			category = "dns_query"
		case "file_create", "write", "write_close", "write_config", "file_rename":
			category = "file_event"
		case "file_unlink":
			category = "file_delete"
		case "init_module":
			category = "driver_load"
		}
		return linuxRoute(r, d, category)
	},
}

// linuxRoute is the route of an event of a Linux sensor; one that no category
// of Sigma names is called by its shape.
func linuxRoute(r *Reader, d *Doc, category string) *Route {
	typ := category
	if typ == "" {
		typ = d.m.name
	}
	return r.categoryRoute(d.m, "linux", typ, category)
}

// tetragon is an event of Cilium Tetragon's JSON export.
var tetragon = mapping{
	name:   "tetragon",
	signs:  [][]string{{"process_exec.process"}, {"process_exit.process"}, {"process_kprobe.process"}, {"process_tracepoint.process"}},
	fields: tetragonFields(),
	host:   []string{"node_name"},
	time:   []string{"time"},
	key:    []string{"process_exec.process.binary", "process_exit.process.binary", "process_kprobe.function_name"},
	route: func(r *Reader, d *Doc, _, key string) *Route {
		category := ""
		switch {
		case d.get("process_exec.process.binary") != "":
			category = "process_creation"
		case d.get("process_exit.process.binary") != "":
			category = "process_termination"
		case strings.Contains(key, "tcp_connect"):
			category = "network_connection"
		case strings.HasPrefix(key, "security_file_"), strings.HasPrefix(key, "security_path_"), key == "fd_install":
			category = "file_event"
		}
		return linuxRoute(r, d, category)
	},
	derive: func(d *Doc, dst []sigma.Field) []sigma.Field {
		for _, kind := range tetragonKinds {
			binary := d.get(kind + ".process.binary")
			if binary == "" {
				continue
			}
			dst = appendField(dst, "CommandLine", joined(binary, d.get(kind+".process.arguments")))
			if parent := d.get(kind + ".parent.binary"); parent != "" {
				dst = appendField(dst, "ParentCommandLine", joined(parent, d.get(kind+".parent.arguments")))
			}
			break
		}
		return dst
	},
}

var tetragonKinds = [...]string{"process_exec", "process_exit", "process_kprobe", "process_tracepoint"}

func tetragonFields() map[string][]string {
	m := map[string][]string{"node_name": {"Computer"}}
	for _, kind := range tetragonKinds {
		m[kind+".process.binary"] = []string{"Image"}
		m[kind+".process.cwd"] = []string{"CurrentDirectory"}
		m[kind+".process.pid"] = []string{"ProcessId"}
		m[kind+".process.exec_id"] = []string{"ProcessGuid"}
		m[kind+".parent.binary"] = []string{"ParentImage"}
		m[kind+".parent.pid"] = []string{"ParentProcessId"}
		m[kind+".parent.exec_id"] = []string{"ParentProcessGuid"}
		m[kind+".args.sock_arg.daddr"] = []string{"DestinationIp"}
		m[kind+".args.sock_arg.dport"] = []string{"DestinationPort"}
		m[kind+".args.sock_arg.saddr"] = []string{"SourceIp"}
		m[kind+".args.sock_arg.sport"] = []string{"SourcePort"}
		m[kind+".args.file_arg.path"] = []string{"TargetFilename"}
		m[kind+".args.path_arg.path"] = []string{"TargetFilename"}
	}
	return m
}

// joined is a command line made of a program and its arguments.
func joined(program, arguments string) string {
	if arguments == "" {
		return program
	}
	return program + " " + arguments
}

// falco is an alert of Falco: an event, and a rule of Falco's that it broke.
var falco = mapping{
	name:  "falco",
	signs: [][]string{{"rule", "priority", "output_fields"}},
	fields: map[string][]string{
		"output_fields.proc.exepath":  {"Image"},
		"output_fields.proc.cmdline":  {"CommandLine"},
		"output_fields.proc.cwd":      {"CurrentDirectory"},
		"output_fields.proc.pid":      {"ProcessId"},
		"output_fields.proc.ppid":     {"ParentProcessId"},
		"output_fields.proc.pexepath": {"ParentImage"},
		"output_fields.proc.pcmdline": {"ParentCommandLine"},
		"output_fields.user.name":     {"User"},
		"output_fields.fd.name":       {"TargetFilename"},
		"output_fields.fd.rip":        {"DestinationIp"},
		"output_fields.fd.rport":      {"DestinationPort"},
		"hostname":                    {"Computer"},
	},
	id:      []string{"uuid"},
	host:    []string{"hostname", "output_fields.evt.hostname"},
	time:    []string{"time", "output_fields.evt.time"},
	key:     []string{"output_fields.evt.type"},
	verdict: falcoVerdict,
	route: func(r *Reader, d *Doc, _, call string) *Route {
		category := ""
		switch call {
		case "execve", "execveat":
			category = "process_creation"
		case "connect":
			category = "network_connection"
		case "open", "openat", "openat2", "creat", "rename", "renameat", "renameat2":
			category = "file_event"
		case "unlink", "unlinkat":
			category = "file_delete"
		}
		return linuxRoute(r, d, category)
	},
	derive: func(d *Doc, dst []sigma.Field) []sigma.Field {
		// Older rules of Falco name the parent only.
		if d.get("output_fields.proc.pexepath") == "" {
			dst = appendField(dst, "ParentImage", d.get("output_fields.proc.pname"))
		}
		return dst
	},
}

func falcoVerdict(d *Doc) *Verdict {
	v := &Verdict{RuleID: "falco:" + d.get("rule"), Title: d.get("rule")}
	switch strings.ToLower(d.get("priority")) {
	case "emergency", "alert", "critical":
		v.Level = sigma.Critical
	case "error":
		v.Level = sigma.High
	case "warning":
		v.Level = sigma.Medium
	case "notice":
		v.Level = sigma.Low
	default:
		v.Level = sigma.Informational
	}
	d.Each(func(l flatjson.Leaf) {
		if l.Path.Name == "tags" {
			v.Tags = append(v.Tags, "falco."+strings.Clone(l.Value.Text))
		}
	})
	return v
}

// osquery is one row of a result of osquery's event tables.
var osquery = mapping{
	name:  "osquery",
	signs: [][]string{{"columns", "hostIdentifier"}, {"columns", "action", "name"}, {"snapshot", "hostIdentifier"}},
	strip: []string{"columns."},
	fields: map[string][]string{
		"columns.path":           {"Image"},
		"columns.cmdline":        {"CommandLine"},
		"columns.pid":            {"ProcessId"},
		"columns.parent":         {"ParentProcessId"},
		"columns.cwd":            {"CurrentDirectory"},
		"columns.username":       {"User"},
		"columns.remote_address": {"DestinationIp"},
		"columns.remote_port":    {"DestinationPort"},
		"columns.local_address":  {"SourceIp"},
		"columns.local_port":     {"SourcePort"},
		"columns.target_path":    {"TargetFilename"},
		"columns.sha256":         {"sha256"},
		"columns.md5":            {"md5"},
		"hostIdentifier":         {"Computer"},
	},
	host: []string{"hostIdentifier", "decorations.hostname"},
	time: []string{"columns.time", "unixTime"},
	os:   []string{"decorations.platform", "decorations.os"},
	key:  []string{"name"},
	route: func(r *Reader, d *Doc, os, name string) *Route {
		system := osOf(os)
		if system == "" { // the result does not say: a drive letter does
			system = "linux"
			if p := d.get("columns.path"); strings.Contains(p, `:\`) {
				system = "windows"
			}
		}
		category := ""
		switch {
		case strings.Contains(name, "process_events") || strings.Contains(name, "process_etw_events"):
			category = "process_creation"
		case strings.Contains(name, "socket_events"):
			category = "network_connection"
		case strings.Contains(name, "file_events"):
			category = "file_event"
		case strings.Contains(name, "dns_lookup_events"):
			category = "dns_query"
		}
		typ := category
		if typ == "" {
			typ = "osquery"
		}
		return r.categoryRoute(d.m, system, typ, category)
	},
	derive: func(d *Doc, dst []sigma.Field) []sigma.Field {
		if d.get("columns.username") == "" && d.get("columns.uid") == "0" {
			dst = appendField(dst, "User", "root") // the one uid that is the same everywhere
		}
		return dst
	},
}
