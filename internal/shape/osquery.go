package shape

import (
	"strings"

	"github.com/picket-edr/picket/sigma"
)

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
		return r.sensorRoute(d, system, category)
	},
	derive: func(d *Doc, dst []sigma.Field) []sigma.Field {
		if d.get("columns.username") == "" && d.get("columns.uid") == "0" {
			dst = appendField(dst, "User", "root") // the one uid that is the same everywhere
		}
		return dst
	},
}
