package normalize

// evtxFormat is an event of the Windows event log whose XML was converted to JSON, as
// evtx_dump, SigmaHQ's regression cases and whids do: System and EventData under
// Event, attributes under "#attributes".
var evtxFormat = newWindowsFormat(evtxFormatName, "Event.", [][]string{{"Event.System"}})

const evtxFormatName = "evtx"

// legacyWindowsFormat is the same in the intermediate format of legacy agents: System
// and EventData under "info".
var legacyWindowsFormat = newWindowsFormat("intermediate", "info.", [][]string{{"info.System", "info.EventData"}})

func newWindowsFormat(name, pathPrefix string, discriminators [][]string) format {
	sys, kinds := pathPrefix+"System.", eventVariantPathsUnder(pathPrefix+"EventData.")
	return format{
		name:             name,
		discriminators:   discriminators,
		stripPrefixes:    []string{pathPrefix + "EventData."},
		lastPartPrefixes: []string{pathPrefix + "UserData."},
		fieldNames: mergeMaps(windowsFieldAliases, map[string][]string{
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
		hostPaths:     []string{sys + "Computer"},
		timePaths:     []string{sys + "TimeCreated.#attributes.SystemTime", sys + "TimeCreated", sys + "TimeCreated.SystemTime"},
		osPaths:       []string{sys + "Channel", sys + "Provider.#attributes.Name"},
		classKeyPaths: []string{sys + "EventID", sys + "EventID.#text"},
		classify: func(r *Reader, d *Event, channel, eventID string) *Class {
			return windowsClass(r, channel, eventID, kinds.variantOf(d, eventID), nil)
		},
	}
}

// mergeMaps returns the union of two maps; where both have a key, the value of
// overrides.
func mergeMaps(base, overrides map[string][]string) map[string][]string {
	m := make(map[string][]string, len(base)+len(overrides))
	for k, v := range base {
		m[k] = v
	}
	for k, v := range overrides {
		m[k] = v
	}
	return m
}
