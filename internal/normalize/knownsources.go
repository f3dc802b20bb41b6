package normalize

import (
	"maps"
	"slices"
	"strings"

	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/lint"
)

// KnownSources returns the logsources that events of any format can have, with
// their fields in Sigma's taxonomy and Sysmon's schema. Rule checks use it.
func KnownSources() []lint.KnownLogSource {
	var out []lint.KnownLogSource
	add := func(product, category, service string, ids ...string) {
		out = append(out, lint.KnownLogSource{
			LogSource: sigma.LogSource{Product: product, Category: category, Service: service}, EventIDs: ids, Fields: knownFields(category),
		})
	}
	addServices := func(product string, services ...string) {
		slices.Sort(services)
		for _, service := range slices.Compact(services) {
			out = append(out, lint.KnownLogSource{LogSource: sigma.LogSource{Product: product, Service: service}})
		}
	}
	addServices("windows", append(slices.Collect(maps.Values(channelServices)), slices.Concat(slices.Collect(maps.Values(serviceAliases))...)...)...)
	for _, service := range slices.Sorted(maps.Keys(windowsEventCategories)) {
		ids := make(map[string][]string) // by category
		for id, names := range windowsEventCategories[service] {
			id, _, _ = strings.Cut(id, "+")
			for _, name := range names {
				if !slices.Contains(ids[name], id) {
					ids[name] = append(ids[name], id)
				}
			}
		}
		for _, category := range slices.Sorted(maps.Keys(ids)) {
			add("windows", category, service, ids[category]...)
			if service == "sysmon" {
				add("linux", category, service, ids[category]...)
			}
		}
	}
	addServices("linux", append(slices.Concat(slices.Collect(maps.Values(programServices))...), "sysmon", "auditd", fallbackLogServices[0])...)
	for _, category := range auditCategoriesByBit {
		out = append(out, lint.KnownLogSource{
			LogSource: sigma.LogSource{Product: "linux", Category: category, Service: "auditd"},
			Fields:    append(knownFields(category), strings.Fields(auditFields)...),
		})
	}
	for _, product := range []string{"windows", "linux", "macos"} {
		for _, category := range slices.Sorted(maps.Keys(declarableCategories)) {
			add(product, category, "")
		}
	}
	return out
}

// knownFields returns the fields of events of a category, nil if they are not
// known.
func knownFields(category string) []string {
	of, ok := sysmonFieldsByCategory[category]
	if !ok {
		return nil
	}
	return append(append(strings.Fields(commonSysmonFields), HostField), strings.Fields(of)...)
}

// commonSysmonFields are the fields of all Sysmon events.
const commonSysmonFields = `EventID Channel Computer Provider_Name Provider_Guid Keywords Level Task Opcode Version ` +
	`RuleName UtcTime ProcessGuid ProcessId Image User`

// sysmonFieldsByCategory are the further fields of Sysmon's events by category, with those
// that Sigma's taxonomy adds.
var sysmonFieldsByCategory = map[string]string{
	"process_creation": `FileVersion Description Product Company OriginalFileName CommandLine CurrentDirectory LogonGuid LogonId ` +
		`TerminalSessionId IntegrityLevel Hashes md5 sha1 sha256 Imphash imphash ParentProcessGuid ParentProcessId ParentImage ParentCommandLine ParentUser ` +
		`GrandParentImage GrandParentCommandLine Signature Signed SignatureStatus ` +
		// Of Security 4688.
		`SubjectUserSid SubjectUserName SubjectDomainName SubjectLogonId NewProcessId NewProcessName TokenElevationType ParentProcessName ` +
		`TargetUserSid TargetUserName TargetDomainName TargetLogonId MandatoryLabel`,
	"file_change":              "TargetFilename CreationUtcTime PreviousCreationUtcTime",
	"network_connection":       "Protocol Initiated SourceIsIpv6 SourceIp SourceHostname SourcePort SourcePortName DestinationIsIpv6 DestinationIp DestinationHostname DestinationPort DestinationPortName CommandLine ParentImage ParentCommandLine",
	"process_termination":      "",
	"driver_load":              "ImageLoaded Hashes md5 sha1 sha256 Imphash Signed Signature SignatureStatus",
	"image_load":               "ImageLoaded FileVersion Description Product Company OriginalFileName Hashes md5 sha1 sha256 Imphash Signed Signature SignatureStatus CommandLine",
	"create_remote_thread":     "SourceProcessGuid SourceProcessId SourceImage TargetProcessGuid TargetProcessId TargetImage NewThreadId StartAddress StartModule StartFunction SourceUser TargetUser SourceCommandLine SourceParentImage SourceParentCommandLine SourceParentProcessId TargetParentImage TargetParentProcessId",
	"raw_access_thread":        "Device",
	"process_access":           "SourceProcessGUID SourceProcessGuid SourceProcessId SourceThreadId SourceImage TargetProcessGUID TargetProcessGuid TargetProcessId TargetImage GrantedAccess CallTrace SourceUser TargetUser SourceCommandLine",
	"file_event":               "TargetFilename CreationUtcTime CommandLine ParentImage ParentCommandLine MagicHeader",
	"file_delete":              "TargetFilename Hashes IsExecutable Archived CommandLine ParentImage ParentCommandLine",
	"file_delete_detected":     "TargetFilename Hashes IsExecutable",
	"registry_event":           "EventType TargetObject Details NewName",
	"registry_add":             "EventType TargetObject",
	"registry_delete":          "EventType TargetObject",
	"registry_set":             "EventType TargetObject Details",
	"registry_rename":          "EventType TargetObject NewName",
	"create_stream_hash":       "TargetFilename CreationUtcTime Hash Hashes md5 sha1 sha256 Imphash Contents",
	"pipe_created":             "EventType PipeName",
	"wmi_event":                "EventType Operation EventNamespace Name Query Type Destination Consumer Filter",
	"dns_query":                "QueryName QueryStatus QueryResults record_type answer CommandLine ParentImage ParentCommandLine",
	"process_tampering":        "Type",
	"file_block_executable":    "TargetFilename Hashes",
	"file_block_shredding":     "TargetFilename Hashes IsExecutable",
	"file_executable_detected": "TargetFilename Hashes",
	"ps_module":                "ContextInfo Payload UserData",
	"ps_script":                "ScriptBlockText ScriptBlockId Path MessageNumber MessageTotal",
}

// TaxonomyFields returns the names of fields in Sigma's taxonomy and Sysmon's schema.
func TaxonomyFields() []string {
	fields := strings.Fields(commonSysmonFields)
	for _, category := range slices.Sorted(maps.Keys(sysmonFieldsByCategory)) {
		fields = append(fields, strings.Fields(sysmonFieldsByCategory[category])...)
	}
	slices.Sort(fields)
	return slices.Compact(fields)
}
