package normalize

// flatWindowsFormat is an event of the Windows event log with all fields at the top level
// under Sigma's names, as in NXLog and the OTRF Security-Datasets.
var flatWindowsFormat = format{
	name:           "windows-flat",
	discriminators: [][]string{{"EventID", "Channel"}, {"EventID", "SourceName"}, {"EventID", "ProviderName"}, {"EventID", "Provider_Name"}},
	// Fields keep their names; some have Sigma's name too.
	fieldNames: map[string][]string{
		"NewProcessName":    {"NewProcessName", "Image"},
		"ParentProcessName": {"ParentProcessName", "ParentImage"},
		"MandatoryLabel":    {"MandatoryLabel", "IntegrityLevel"},
		// NXLog and Windows' own name of the provider.
		"SourceName":   {"SourceName", "Provider_Name"},
		"ProviderName": {"ProviderName", "Provider_Name"},
	},
	hostPaths:     []string{"Hostname", "Computer", "ComputerName", "host.name", "host"},
	timePaths:     []string{"EventTime", "TimeCreated", "UtcTime", "@timestamp"},
	osPaths:       []string{"Channel", "SourceName", "ProviderName", "Provider_Name"},
	classKeyPaths: []string{"EventID"},
	classify: func(r *Reader, d *Event, channel, eventID string) *Class {
		return windowsClass(r, channel, eventID, flatWindowsEventVariantPaths.variantOf(d, eventID), nil)
	},
}

var flatWindowsEventVariantPaths = eventVariantPathsUnder("")
