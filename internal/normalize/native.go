package normalize

import (
	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/sigma"
)

// nativeFormat is the format of picket's agent. Legacy agents send a subset of it.
var nativeFormat = format{
	name: "native",
	discriminators: [][]string{
		{"event_type", "process"}, {"event_type", "file"}, {"event_type", "network"},
		{"agent_id", "event_id", "severity", "version"},
	},
	numericID: true,
	fieldNames: map[string][]string{
		"process.name":                {"Image"},
		"process.invoked_as":          {"Image"},
		"process.comm":                nil, // deriveNativeExec
		"process.args":                nil,
		"process.pid":                 {"ProcessId"},
		"process.command_line":        {"CommandLine"},
		"process.user":                {"User"},
		"process.working_directory":   {"CurrentDirectory"},
		"process.parent_image":        {"ParentImage"},
		"process.parent_invoked_as":   {"ParentImage"},
		"process.parent_command_line": {"ParentCommandLine"},
		"process.parent_pid":          {"ParentProcessId"},
		"process.parent_user":         {"ParentUser"},
		"process.integrity_level":     {"IntegrityLevel"},
		"process.hashes":              {"Hashes"},
		"process.original_file_name":  {"OriginalFileName"},
		"process.product":             {"Product"},
		"process.company":             {"Company"},
		"process.description":         {"Description"},
		"process.file_version":        {"FileVersion"},
		"process.logon_id":            {"LogonId"},
		"process.guid":                {"ProcessGuid"},
		"process.parent_guid":         {"ParentProcessGuid"},
		"file.path":                   {"TargetFilename"},
		"file.process_image":          {"Image"},
		"file.image":                  {"Image"},
		"file.pid":                    {"ProcessId"},
		"file.user":                   {"User"},
		"network.source_ip":           {"SourceIp"},
		"network.source_port":         {"SourcePort"},
		"network.dest_ip":             {"DestinationIp"},
		"network.dest_port":           {"DestinationPort"},
		"network.dest_hostname":       {"DestinationHostname"},
		"network.protocol":            {"Protocol"},
		"network.image":               {"Image"},
		"network.pid":                 {"ProcessId"},
		"network.user":                {"User"},
		"network.initiated":           {"Initiated"},
		"host.hostname":               {"Computer"},
	},
	hostPaths:     []string{"host.hostname"},
	timePaths:     []string{"timestamp"},
	osPaths:       []string{"host.os"},
	classKeyPaths: picket.NativeActionPaths(),
	classify:      nativeClass,
	derive:        deriveNativeExec,
}

// nativeClass returns the class of a native event. The exit of a process and the
// deletion of a file have categories of their own. A sender that names no operating
// system is a legacy agent, on Windows.
func nativeClass(r *Reader, d *Event, os, action string) *Class {
	system := normalizeOS(os)
	if system == "" && os == "" {
		system = "windows"
	}
	category := picket.NativeCategory(d.Type, action)
	if category == "" {
		return r.declaredClass(d, declaration{os: system, typ: d.Type})
	}
	if system == "linux" && category == "process_creation" {
		return nativeExecClass(r, d)
	}
	return r.categoryClass(d.format, system, category, category)
}

// nativeExecClass returns the class of the start of a program on Linux, which also has the
// fields of the audit system.
func nativeExecClass(r *Reader, d *Event) *Class {
	return r.internClass(classKey{uint8(d.format.index), "linux", "process_creation", "process_creation"}, func() Class {
		return Class{Type: "process_creation", OS: "linux", nativeExec: true, Sources: []sigma.LogSource{
			{Product: "linux", Category: "process_creation"}, {Product: "linux", Service: "auditd"},
		}}
	})
}

// appendField appends a computed field, unless its value is empty.
func appendField(dst []sigma.Field, name, value string) []sigma.Field {
	if value == "" {
		return dst
	}
	return append(dst, sigma.Field{Name: name, Value: sigma.Value{Kind: sigma.String, Text: value}})
}
