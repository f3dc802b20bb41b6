package normalize

import (
	"strings"

	"github.com/picket-edr/picket/sigma"
)

// osqueryFormat is one result row of osquery's event tables.
var osqueryFormat = format{
	name:           "osquery",
	discriminators: [][]string{{"columns", "hostIdentifier"}, {"columns", "action", "name"}, {"snapshot", "hostIdentifier"}},
	stripPrefixes:  []string{"columns."},
	fieldNames: map[string][]string{
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
	hostPaths:     []string{"hostIdentifier", "decorations.hostname"},
	timePaths:     []string{"columns.time", "unixTime"},
	osPaths:       []string{"decorations.platform", "decorations.os"},
	classKeyPaths: []string{"name"},
	classify: func(r *Reader, d *Event, os, name string) *Class {
		system := normalizeOS(os)
		if system == "" { // a drive letter implies Windows
			system = "linux"
			if p := d.value("columns.path"); strings.Contains(p, `:\`) {
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
		return r.sensorClass(d, system, category)
	},
	derive: func(d *Event, dst []sigma.Field) []sigma.Field {
		if d.value("columns.username") == "" && d.value("columns.uid") == "0" {
			dst = appendField(dst, "User", "root") // the only uid with the same name on every system
		}
		return dst
	},
}
