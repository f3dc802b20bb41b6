package normalize

import (
	"strings"

	"github.com/picket-edr/picket/sigma"
)

// tetragonFormat is an event of Cilium Tetragon's JSON export.
var tetragonFormat = format{
	name:           "tetragon",
	discriminators: [][]string{{"process_exec.process"}, {"process_exit.process"}, {"process_kprobe.process"}, {"process_tracepoint.process"}},
	fieldNames:     tetragonFields(),
	hostPaths:      []string{"node_name"},
	timePaths:      []string{"time"},
	classKeyPaths:  []string{"process_exec.process.binary", "process_exit.process.binary", "process_kprobe.function_name"},
	classify: func(r *Reader, d *Event, _, key string) *Class {
		category := ""
		switch {
		case d.value("process_exec.process.binary") != "":
			category = "process_creation"
		case d.value("process_exit.process.binary") != "":
			category = "process_termination"
		case strings.Contains(key, "tcp_connect"):
			category = "network_connection"
		case strings.HasPrefix(key, "security_file_"), strings.HasPrefix(key, "security_path_"), key == "fd_install":
			category = "file_event"
		}
		return linuxClass(r, d, category)
	},
	derive: func(d *Event, dst []sigma.Field) []sigma.Field {
		for _, kind := range tetragonEventKeys {
			binary := d.value(kind + ".process.binary")
			if binary == "" {
				continue
			}
			dst = appendField(dst, "CommandLine", commandLineOf(binary, d.value(kind+".process.arguments")))
			if parent := d.value(kind + ".parent.binary"); parent != "" {
				dst = appendField(dst, "ParentCommandLine", commandLineOf(parent, d.value(kind+".parent.arguments")))
			}
			break
		}
		return dst
	},
}

var tetragonEventKeys = [...]string{"process_exec", "process_exit", "process_kprobe", "process_tracepoint"}

func tetragonFields() map[string][]string {
	m := map[string][]string{"node_name": {"Computer"}}
	for _, kind := range tetragonEventKeys {
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

// commandLineOf returns the command line of a program and its arguments.
func commandLineOf(program, arguments string) string {
	if arguments == "" {
		return program
	}
	return program + " " + arguments
}
