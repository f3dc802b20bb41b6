package shape

import (
	"slices"

	"github.com/picket-edr/picket/sigma"
)

// winlogbeat is a Windows event as Winlogbeat 7 and later sends it: the
// event's own data under winlog.event_data. Elastic's ingest pipelines, and
// Elastic Agent, move most of that to ECS and leave the rest.
var winlogbeat = mapping{
	name:  "winlogbeat",
	signs: [][]string{{"winlog.channel"}, {"winlog.event_data"}},
	strip: []string{"winlog.event_data."},
	last:  []string{"winlog.user_data."},
	fields: with(with(ecsFields, renames), map[string][]string{
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
		// What is Data without a name in the event itself.
		"*.param1": {"Data"}, "*.param2": {"Data"}, "*.param3": {"Data"}, "*.param4": {"Data"}, "*.param5": {"Data"},
		"*.param6": {"Data"}, "*.param7": {"Data"}, "*.param8": {"Data"}, "*.param9": {"Data"},
	}),
	agent: []string{"agent.id", "agent.name"},
	host:  []string{"winlog.computer_name", "host.name", "host.hostname", "agent.hostname"},
	time:  []string{"@timestamp", "event.created"},
	os:    []string{"winlog.channel", "winlog.provider_name"},
	key:   []string{"winlog.event_id", "event.code"},
	route: func(r *Reader, d *Doc, channel, eventID string) *Route {
		return windowsRoute(r, channel, eventID, winlogKinds.of(d, eventID), ecsNames)
	},
	derive: winlogDerive,
	// Only Elastic's pipelines add these.
	when: []string{"event.category", "process", "file", "network"},
}

var winlogKinds = kindPathsUnder("winlog.event_data.")

// winlogDerive undoes Elastic's pipelines where that takes the kind of event.
func winlogDerive(d *Doc, dst []sigma.Field) []sigma.Field {
	var e ecsParts
	for k := range d.leaves {
		l := &d.leaves[k]
		e.put(l)
		for _, name := range d.Route.also[l.Path.Name] {
			dst = append(dst, sigma.Field{Name: name, Value: l.Value})
		}
	}
	return e.fields(dst)
}

// ecsNames gives a route the names that its service and categories add.
func ecsNames(rt *Route) {
	rt.also = make(map[string][]string)
	for _, s := range rt.Sources {
		for _, add := range []map[string][]string{ecsByService[s.Service], ecsByCategory[s.Category]} {
			for path, names := range add {
				for _, name := range names {
					if !slices.Contains(rt.also[path], name) {
						rt.also[path] = append(rt.also[path], name)
					}
				}
			}
		}
	}
}

// ecsByService and ecsByCategory are names of ECS that stand for other fields
// of Sigma's in other events. Source: the ingest pipelines of Winlogbeat, and
// pySigma's pipeline for them.
var ecsByService = map[string]map[string][]string{
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
	"powershell":         powershellNames,
	"powershell-classic": with(powershellNames, map[string][]string{"powershell.command.value": {"CommandLine"}}),
}

var powershellNames = map[string][]string{
	"event.sequence":       {"SequenceNumber"},
	"file.path":            {"ScriptName", "Path"},
	"process.command_line": {"HostApplication"},
	"process.entity_id":    {"HostId"},
	"process.title":        {"HostName"},
	"powershell.command.invocation_details.value": {"Payload"},
}

var sourceNames = map[string][]string{
	"process.entity_id":  {"SourceProcessGuid", "SourceProcessGUID"},
	"process.executable": {"SourceImage"},
	"process.pid":        {"SourceProcessId"},
	"process.thread.id":  {"SourceThreadId"},
}

var ecsByCategory = map[string]map[string][]string{
	"create_remote_thread": sourceNames,
	"process_access":       sourceNames,
	"driver_load":          {"file.path": {"ImageLoaded"}},
	"image_load":           {"file.path": {"ImageLoaded"}},
	"pipe_created":         {"file.name": {"PipeName"}},
	"raw_access_thread":    {"file.path": {"Device"}},
	"wmi_event":            {"process.executable": {"Destination"}},
}
