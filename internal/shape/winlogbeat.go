package shape

// winlogbeat is a Windows event as Winlogbeat 7 and later sends it: the
// event's own data under winlog.event_data.
var winlogbeat = mapping{
	name:  "winlogbeat",
	signs: [][]string{{"winlog.channel"}, {"winlog.event_data"}},
	strip: []string{"winlog.event_data."},
	last:  []string{"winlog.user_data."},
	fields: with(renames, map[string][]string{
		"winlog.channel":           {"Channel"},
		"winlog.event_id":          {"EventID"},
		"winlog.provider_name":     {"Provider_Name"},
		"winlog.provider_guid":     {"Provider_Guid"},
		"winlog.computer_name":     {"Computer"},
		"winlog.record_id":         {"EventRecordID"},
		"winlog.keywords":          {"Keywords"},
		"winlog.opcode":            {"Opcode"},
		"winlog.task":              {"Task"},
		"winlog.version":           {"Version"},
		"winlog.level":             {"Level"},
		"winlog.process.pid":       {"Execution_ProcessID"},
		"winlog.process.thread.id": {"Execution_ThreadID"},
		"winlog.user.identifier":   {"Security_UserID"},
		"message":                  {"Message"},
	}),
	agent: []string{"agent.id", "agent.name"},
	host:  []string{"winlog.computer_name", "host.name", "host.hostname", "agent.hostname"},
	time:  []string{"@timestamp", "event.created"},
	os:    []string{"winlog.channel"},
	key:   []string{"winlog.event_id", "event.code"},
	route: func(r *Reader, d *Doc, channel, eventID string) *Route {
		return windowsRoute(r, channel, eventID, winlogKinds.of(d, eventID), nil)
	},
}

var winlogKinds = kindPathsUnder("winlog.event_data.")
