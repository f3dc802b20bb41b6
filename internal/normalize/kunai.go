package normalize

// kunaiFormat is an event of the eBPF sensor Kunai (kunai.rocks).
var kunaiFormat = format{
	name:           "kunai",
	discriminators: [][]string{{"info.event.source", "info.event.name", "data"}, {"info.task", "info.event.id", "data"}},
	fieldNames: map[string][]string{
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
	idPaths:       []string{"info.event.uuid"},
	agentPaths:    []string{"info.host.uuid"},
	hostPaths:     []string{"info.host.name", "info.host.uuid"},
	timePaths:     []string{"info.utc_time"},
	classKeyPaths: []string{"info.event.name"},
	classify: func(r *Reader, d *Event, _, name string) *Class {
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
		return linuxClass(r, d, category)
	},
}
