package normalize

import (
	"slices"

	"github.com/picket-edr/picket/sigma"
)

// winlogbeatFormat is a Windows event from Winlogbeat 7 or later, with the event's own data
// under winlog.event_data. Elastic's ingest pipelines and Elastic Agent move most
// of that to ECS fields.
var winlogbeatFormat = format{
	name:             "winlogbeat",
	discriminators:   [][]string{{"winlog.channel"}, {"winlog.event_data"}},
	stripPrefixes:    []string{"winlog.event_data."},
	lastPartPrefixes: []string{"winlog.user_data."},
	fieldNames: mergeMaps(mergeMaps(ecsFields, windowsFieldAliases), map[string][]string{
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
		// Data elements without a name in the event itself.
		"*.param1": {"Data"}, "*.param2": {"Data"}, "*.param3": {"Data"}, "*.param4": {"Data"}, "*.param5": {"Data"},
		"*.param6": {"Data"}, "*.param7": {"Data"}, "*.param8": {"Data"}, "*.param9": {"Data"},
	}),
	agentPaths:    []string{"agent.id", "agent.name"},
	hostPaths:     []string{"winlog.computer_name", "host.name", "host.hostname", "agent.hostname"},
	timePaths:     []string{"@timestamp", "event.created"},
	osPaths:       []string{"winlog.channel", "winlog.provider_name"},
	classKeyPaths: []string{"winlog.event_id", "event.code"},
	classify: func(r *Reader, d *Event, channel, eventID string) *Class {
		return windowsClass(r, channel, eventID, winlogbeatEventVariantPaths.variantOf(d, eventID), addECSAliases)
	},
	derive: deriveWinlogbeatFields,
	// Added by Elastic's pipelines only.
	deriveIf: []string{"event.category", "process", "file", "network"},
}

var winlogbeatEventVariantPaths = eventVariantPathsUnder("winlog.event_data.")

// deriveWinlogbeatFields restores fields that Elastic's pipelines moved, if that depends on
// the kind of event.
func deriveWinlogbeatFields(d *Event, dst []sigma.Field) []sigma.Field {
	var e ecsParts
	for k := range d.leaves {
		l := &d.leaves[k]
		e.put(l)
		for _, name := range d.Class.aliases[l.Path.Name] {
			dst = append(dst, sigma.Field{Name: name, Value: l.Value})
		}
	}
	return e.appendFields(dst)
}

// addECSAliases adds the field names for the service and the categories of a class.
func addECSAliases(rt *Class) {
	rt.aliases = make(map[string][]string)
	for _, s := range rt.Sources {
		for _, add := range []map[string][]string{ecsFieldsByService[s.Service], ecsFieldsByCategory[s.Category]} {
			for path, names := range add {
				for _, name := range names {
					if !slices.Contains(rt.aliases[path], name) {
						rt.aliases[path] = append(rt.aliases[path], name)
					}
				}
			}
		}
	}
}

// ecsFieldsByService and ecsFieldsByCategory are the Sigma names of ECS fields whose meaning
// depends on the event. Source: the ingest pipelines of Winlogbeat, and pySigma's
// pipeline for them.
var ecsFieldsByService = map[string]map[string][]string{
	"security": {
		"destination.ip":              {"DestAddress"},
		"destination.port":            {"DestPort"},
		"process.executable":          {"ProcessName", "NewProcessName", "Application"},
		"process.parent.executable":   {"ParentProcessName"},
		"service.name":                {"ServiceName"},
		"source.domain":               {"WorkstationName", "ClientName"},
		"source.ip":                   {"IpAddress", "ClientAddress", "SourceAddress"},
		"source.port":                 {"IpPort"},
		"user.domain":                 {"SubjectDomainName", "TargetDomainName", "AccountDomain"},
		"user.name":                   {"SubjectUserName", "AccountName"},
		"user.id":                     {"SubjectUserSid"},
		"user.target.domain":          {"TargetDomainName"},
		"user.target.name":            {"TargetUserName"},
		"winlog.logon.id":             {"SubjectLogonId", "TargetLogonId"},
		"winlog.logon.failure.status": {"Status"},
	},
	"powershell":         ecsPowerShellFields,
	"powershell-classic": mergeMaps(ecsPowerShellFields, map[string][]string{"powershell.command.value": {"CommandLine"}}),
}

var ecsPowerShellFields = map[string][]string{
	"event.sequence":       {"SequenceNumber"},
	"file.path":            {"ScriptName", "Path"},
	"process.command_line": {"HostApplication"},
	"process.entity_id":    {"HostId"},
	"process.title":        {"HostName"},
	"powershell.command.invocation_details.value": {"Payload"},
}

var ecsSourceProcessFields = map[string][]string{
	"process.entity_id":  {"SourceProcessGuid", "SourceProcessGUID"},
	"process.executable": {"SourceImage"},
	"process.pid":        {"SourceProcessId"},
	"process.thread.id":  {"SourceThreadId"},
}

var ecsFieldsByCategory = map[string]map[string][]string{
	"create_remote_thread": ecsSourceProcessFields,
	"process_access":       ecsSourceProcessFields,
	"driver_load":          {"file.path": {"ImageLoaded"}},
	"image_load":           {"file.path": {"ImageLoaded"}},
	"pipe_created":         {"file.name": {"PipeName"}},
	"raw_access_thread":    {"file.path": {"Device"}},
	"wmi_event":            {"process.executable": {"Destination"}},
}
