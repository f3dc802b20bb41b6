package normalize

import (
	"strings"

	"github.com/picket-edr/picket/sigma"
)

// ocsfFormat is an event of the Open Cybersecurity Schema Framework: classes 1001 (file),
// 1007 (process), 4001 (network) and 4003 (DNS).
var ocsfFormat = format{
	name:           "ocsf",
	discriminators: [][]string{{"class_uid", "metadata"}},
	fieldNames: map[string][]string{
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
	idPaths:       []string{"metadata.uid"},
	agentPaths:    []string{"device.uid"},
	hostPaths:     []string{"device.hostname", "device.name", "device.uid"},
	timePaths:     []string{"time"},
	osPaths:       []string{"device.os.type", "device.os.name"},
	classKeyPaths: []string{"class_uid"},
	classify: func(r *Reader, d *Event, os, class string) *Class {
		system := normalizeOS(os)
		if system == "" && strings.Contains(d.value("metadata.product.name"), "Windows") {
			system = "windows"
		}
		category := map[string]string{
			"1001": "file_event", "1007": "process_creation", "4001": "network_connection", "4003": "dns_query",
		}[class]
		if activity := d.value("activity_id"); class == "1007" && activity == "2" {
			category = "process_termination"
		} else if class == "1001" && activity == "4" {
			category = "file_delete"
		}
		return r.sensorClass(d, system, category)
	},
	derive: func(d *Event, dst []sigma.Field) []sigma.Field {
		// The actor of a process start is the parent.
		if d.value("class_uid") == "1007" && d.value("process.parent_process.file.path") == "" {
			dst = appendField(dst, "ParentImage", d.value("actor.process.file.path"))
			return appendField(dst, "ParentCommandLine", d.value("actor.process.cmd_line"))
		}
		if d.value("process.file.path") == "" {
			return appendField(dst, "Image", d.value("actor.process.file.path"))
		}
		return dst
	},
}
