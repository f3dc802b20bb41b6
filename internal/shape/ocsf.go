package shape

import (
	"strings"

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
		return r.sensorRoute(d, system, category)
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
