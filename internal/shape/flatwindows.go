package shape

// flatWindows is an event of the Windows event log with everything at the top
// level under Sigma's own names, as NXLog and the OTRF Security-Datasets have
// it.
var flatWindows = mapping{
	name:  "windows-flat",
	signs: [][]string{{"EventID", "Channel"}, {"EventID", "SourceName"}, {"EventID", "ProviderName"}, {"EventID", "Provider_Name"}},
	// Everything keeps its name; Security 4688 gets Sigma's besides.
	fields: map[string][]string{
		"NewProcessName":    {"NewProcessName", "Image"},
		"ParentProcessName": {"ParentProcessName", "ParentImage"},
	},
	host: []string{"Hostname", "Computer", "ComputerName", "host.name", "host"},
	time: []string{"EventTime", "TimeCreated", "UtcTime", "@timestamp"},
	os:   []string{"Channel", "SourceName", "ProviderName", "Provider_Name"},
	key:  []string{"EventID"},
	route: func(r *Reader, d *Doc, channel, eventID string) *Route {
		return windowsRoute(r, channel, eventID, flatKinds.of(d, eventID), nil)
	},
}

var flatKinds = kindPathsUnder("")
