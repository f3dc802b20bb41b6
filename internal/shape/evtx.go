package shape

// evtx is an event of the Windows event log, its XML turned to JSON as
// evtx_dump, SigmaHQ's regression cases and whids do it: System and EventData
// under Event, attributes under "#attributes".
var evtx = windowsMapping(evtxName, "Event.", [][]string{{"Event.System"}})

const evtxName = "evtx"

// intermediate is the same as the replaced system's agent held it before it
// cut it down: System and EventData under "info".
var intermediate = windowsMapping("intermediate", "info.", [][]string{{"info.System", "info.EventData"}})

func windowsMapping(name, base string, signs [][]string) mapping {
	sys, kinds := base+"System.", kindPathsUnder(base+"EventData.")
	return mapping{
		name:  name,
		signs: signs,
		strip: []string{base + "EventData."},
		last:  []string{base + "UserData."},
		fields: with(renames, map[string][]string{
			sys + "Provider.#attributes.Name":          {"Provider_Name"},
			sys + "Provider.#attributes.Guid":          {"Provider_Guid"},
			sys + "EventID":                            {"EventID"},
			sys + "EventID.#text":                      {"EventID"},
			sys + "EventID.#attributes.Qualifiers":     {"EventID_Qualifiers"},
			sys + "Version":                            {"Version"},
			sys + "Level":                              {"Level"},
			sys + "Task":                               {"Task"},
			sys + "Opcode":                             {"Opcode"},
			sys + "Keywords":                           {"Keywords"},
			sys + "TimeCreated.#attributes.SystemTime": {"TimeCreated_SystemTime"},
			sys + "EventRecordID":                      {"EventRecordID"},
			sys + "Correlation.#attributes.ActivityID": {"Correlation_ActivityID"},
			sys + "Execution.#attributes.ProcessID":    {"Execution_ProcessID"},
			sys + "Execution.#attributes.ThreadID":     {"Execution_ThreadID"},
			sys + "Channel":                            {"Channel"},
			sys + "Computer":                           {"Computer"},
			sys + "Security.#attributes.UserID":        {"Security_UserID"},
			sys + "Security.#attributes.UserId":        {"Security_UserID"}, // Sysmon for Linux
		}),
		host: []string{sys + "Computer"},
		time: []string{sys + "TimeCreated.#attributes.SystemTime", sys + "TimeCreated", sys + "TimeCreated.SystemTime"},
		os:   []string{sys + "Channel", sys + "Provider.#attributes.Name"},
		key:  []string{sys + "EventID", sys + "EventID.#text"},
		route: func(r *Reader, d *Doc, channel, eventID string) *Route {
			return windowsRoute(r, channel, eventID, kinds.of(d, eventID), nil)
		},
	}
}

// with returns a and b as one map.
func with(a, b map[string][]string) map[string][]string {
	m := make(map[string][]string, len(a)+len(b))
	for k, v := range a {
		m[k] = v
	}
	for k, v := range b {
		m[k] = v
	}
	return m
}
