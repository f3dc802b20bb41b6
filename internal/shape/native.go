package shape

import "github.com/picket-edr/picket/sigma"

// native is the shape of picket's own agent and of the replaced system's,
// which sends the part of it that edr-agent/EventConverter.cpp fills.
var native = mapping{
	name: "native",
	signs: [][]string{
		{"event_type", "process"}, {"event_type", "file"}, {"event_type", "network"},
		{"agent_id", "event_id", "severity", "version"},
	},
	numericID: true,
	fields: map[string][]string{
		"process.name":                {"Image"},
		"process.pid":                 {"ProcessId"},
		"process.command_line":        {"CommandLine"},
		"process.user":                {"User"},
		"process.working_directory":   {"CurrentDirectory"},
		"process.parent_image":        {"ParentImage"},
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
	host:  []string{"host.hostname"},
	time:  []string{"timestamp"},
	os:    []string{"host.os"},
	key:   []string{"process.action", "file.operation"},
	route: nativeRoute,
}

// nativeRoute: an ended process and a deleted file are categories of their
// own. A sender that names no system has the replaced agent's, Windows.
func nativeRoute(r *Reader, d *Doc, os, action string) *Route {
	system := osOf(os)
	if system == "" && os == "" {
		system = "windows"
	}
	category := ""
	switch d.Type {
	case "process":
		category = "process_creation"
		if action == "terminated" || action == "exited" {
			category = "process_termination"
		}
	case "file":
		switch action {
		case "deleted":
			category = "file_delete"
		case "renamed":
			category = "file_rename"
		case "accessed", "read":
			category = "file_access"
		default:
			category = "file_event"
		}
	case "network":
		category = "network_connection"
	default:
		return typedRoute(r, d, system)
	}
	return r.categoryRoute(d.m, system, category, category)
}

// typedRoute is the route of an event known only by its declared type, which
// counts as category where it is one of Sigma's.
func typedRoute(r *Reader, d *Doc, system string) *Route {
	if !sigmaCategories[d.Type] {
		return r.categoryRoute(d.m, system, "", "")
	}
	return r.categoryRoute(d.m, system, d.Type, d.Type)
}

// sigmaCategories are the categories that a sender can declare as event_type.
var sigmaCategories = func() map[string]bool {
	set := map[string]bool{
		"file_access": true, "file_rename": true, "process_termination": true, "antivirus": true, "dns": true,
		"firewall": true, "proxy": true, "webserver": true, "database": true,
	}
	for _, of := range categories {
		for _, names := range of {
			for _, name := range names {
				set[name] = true
			}
		}
	}
	return set
}()

// appendField appends a made-up field, unless it would be empty.
func appendField(dst []sigma.Field, name, value string) []sigma.Field {
	if value == "" {
		return dst
	}
	return append(dst, sigma.Field{Name: name, Value: sigma.Value{Kind: sigma.String, Text: value}})
}
