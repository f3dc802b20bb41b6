package shape

import (
	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/sigma"
)

// ecs is Elastic Common Schema as Elastic Endpoint, Auditbeat and ingest
// pipelines make it. Field names: ECS 8 and pySigma's pipelines for it.
var ecs = mapping{
	name: ecsName,
	signs: [][]string{
		{"event.category", "process.executable"}, {"event.category", "@timestamp"}, {"ecs.version", "event"}, {"process.executable", "@timestamp"},
	},
	fields: with(ecsFields, map[string][]string{
		"process.Ext.token.integrity_level_name": {"IntegrityLevel"},
		"dll.path":                               {"ImageLoaded"},
		"dll.hash.md5":                           {"md5"},
		"dll.hash.sha1":                          {"sha1"},
		"dll.hash.sha256":                        {"sha256"},
		"dll.pe.original_file_name":              {"OriginalFileName"},
		"dll.pe.company":                         {"Company"},
		"dll.pe.description":                     {"Description"},
		"dll.pe.product":                         {"Product"},
		"dll.pe.file_version":                    {"FileVersion"},
		"dll.code_signature.signed":              {"Signed"},
		"dll.pe.imphash":                         {"Imphash"},
		"dll.code_signature.status":              {"SignatureStatus"},
		"dll.code_signature.subject_name":        {"Signature"},
		"process.parent.user.name":               {"ParentUser"},
		"event.code":                             {"EventID"},
		"event.provider":                         {"Provider_Name"},
		"host.name":                              {"Computer"},
		"message":                                {"Message"},
	}),
	agent:  []string{"agent.id", "agent.name"},
	host:   []string{"host.name", "host.hostname", "agent.name"},
	time:   []string{"@timestamp", "event.created"},
	os:     []string{"host.os.type", "host.os.family", "host.os.platform", "host.os.name"},
	key:    []string{"event.category"},
	texts:  true,
	route:  ecsRoute,
	derive: ecsDerive,
}

const ecsName = "ecs"

// ecsFields are the names that ECS has for what Sigma names, whoever made an
// event ECS: an endpoint, or a pipeline out of an event of Windows.
var ecsFields = map[string][]string{
	"process.executable":                    {"Image"},
	"process.command_line":                  {"CommandLine"},
	"process.working_directory":             {"CurrentDirectory"},
	"process.pid":                           {"ProcessId"},
	"process.entity_id":                     {"ProcessGuid"},
	"process.parent.executable":             {"ParentImage"},
	"process.parent.command_line":           {"ParentCommandLine"},
	"process.parent.pid":                    {"ParentProcessId"},
	"process.parent.entity_id":              {"ParentProcessGuid"},
	"process.pe.original_file_name":         {"OriginalFileName"},
	"process.pe.company":                    {"Company"},
	"process.pe.description":                {"Description"},
	"process.pe.product":                    {"Product"},
	"process.pe.file_version":               {"FileVersion"},
	"process.pe.imphash":                    {"Imphash"},
	"process.hash.md5":                      {"md5"},
	"process.hash.sha1":                     {"sha1"},
	"process.hash.sha256":                   {"sha256"},
	"file.path":                             {"TargetFilename"},
	"file.pe.original_file_name":            {"OriginalFileName"},
	"file.pe.company":                       {"Company"},
	"file.pe.description":                   {"Description"},
	"file.pe.product":                       {"Product"},
	"file.pe.file_version":                  {"FileVersion"},
	"file.pe.imphash":                       {"Imphash"},
	"file.hash.md5":                         {"md5"},
	"file.hash.sha1":                        {"sha1"},
	"file.hash.sha256":                      {"sha256"},
	"file.code_signature.signed":            {"Signed"},
	"file.code_signature.status":            {"SignatureStatus"},
	"file.code_signature.subject_name":      {"Signature"},
	"destination.ip":                        {"DestinationIp"},
	"destination.port":                      {"DestinationPort"},
	"destination.domain":                    {"DestinationHostname"},
	"source.ip":                             {"SourceIp"},
	"source.port":                           {"SourcePort"},
	"source.domain":                         {"SourceHostname"},
	"network.transport":                     {"Protocol"},
	"network.protocol":                      {"DestinationPortName"},
	"dns.question.name":                     {"QueryName"},
	"dns.answers.data":                      {"QueryResults"},
	"registry.path":                         {"TargetObject"},
	"registry.data.strings":                 {"Details"},
	"rule.name":                             {"RuleName"},
	"sysmon.dns.status":                     {"QueryStatus"},
	"sysmon.file.archived":                  {"Archived"},
	"sysmon.file.is_executable":             {"IsExecutable"},
	"powershell.command.name":               {"CommandName"},
	"powershell.command.path":               {"CommandPath"},
	"powershell.command.type":               {"CommandType"},
	"powershell.engine.version":             {"EngineVersion"},
	"powershell.engine.new_state":           {"NewEngineState"},
	"powershell.engine.previous_state":      {"PreviousEngineState"},
	"powershell.file.script_block_id":       {"ScriptBlockId"},
	"powershell.file.script_block_text":     {"ScriptBlockText"},
	"powershell.pipeline_id":                {"PipelineId"},
	"powershell.process.executable_version": {"HostVersion"},
	"powershell.provider.name":              {"ProviderName"},
	"powershell.provider.new_state":         {"NewProviderState"},
	"powershell.runspace_id":                {"RunspaceId"},
	"powershell.sequence":                   {"MessageNumber"},
	"powershell.total":                      {"MessageTotal"},
}

func ecsRoute(r *Reader, d *Doc, os, category string) *Route {
	system := osOf(os)
	is := func(kind string) bool {
		for k := range d.leaves {
			if l := &d.leaves[k]; l.Path.Name == "event.type" && l.Value.Text == kind {
				return true
			}
		}
		return false
	}
	switch category {
	case "process":
		switch {
		case is("start"):
			return r.sensorRoute(d, system, "process_creation")
		case is("end"):
			return r.sensorRoute(d, system, "process_termination")
		case is("change") || is("access"): // of one that runs already
			return r.sensorRoute(d, system, "")
		}
		return r.sensorRoute(d, system, "process_creation")
	case "file":
		if is("deletion") {
			return r.sensorRoute(d, system, "file_delete")
		}
		return r.sensorRoute(d, system, "file_event")
	case "network":
		if d.get("dns.question.name") != "" {
			return r.sensorRoute(d, system, "dns_query")
		}
		return r.sensorRoute(d, system, "network_connection")
	case "registry":
		switch {
		case is("deletion"):
			return registryRoute(r, system, "registry_delete")
		case is("creation"):
			return registryRoute(r, system, "registry_add")
		}
		return registryRoute(r, system, "registry_set")
	case "library":
		return r.sensorRoute(d, system, "image_load")
	case "driver":
		return r.sensorRoute(d, system, "driver_load")
	}
	return r.sensorRoute(d, system, "")
}

// registryRoute is the route of a category of the registry, which all events of
// it share another with.
func registryRoute(r *Reader, system, category string) *Route {
	return r.routed(routeKey{shape: ecsRoutes, os: system, more: category}, func() Route {
		return Route{Type: category, OS: system, Sources: []sigma.LogSource{
			{Product: system, Category: category}, {Product: system, Category: "registry_event"},
		}}
	})
}

// ecsDerive joins what ECS keeps in two: Windows writes a user as DOMAIN\name,
// and Sysmon the hashes of a file in one.
func ecsDerive(d *Doc, dst []sigma.Field) []sigma.Field {
	var e ecsParts
	for k := range d.leaves {
		e.put(&d.leaves[k])
	}
	return e.fields(dst)
}

// ecsParts are what one field of Sigma's is made of several of.
type ecsParts struct {
	user, domain, direction, dataType, data string
	hashes                                  []byte
}

func (e *ecsParts) put(l *flatjson.Leaf) {
	switch l.Path.Name {
	case "user.name":
		e.user = l.Value.Text
	case "user.domain":
		e.domain = l.Value.Text
	case "network.direction":
		e.direction = l.Value.Text
	case "registry.data.type":
		e.dataType = l.Value.Text
	case "registry.data.strings":
		e.data = l.Value.Text
	case "process.hash.md5", "file.hash.md5", "dll.hash.md5":
		e.hash("MD5", l.Value.Text)
	case "process.hash.sha1", "file.hash.sha1", "dll.hash.sha1":
		e.hash("SHA1", l.Value.Text)
	case "process.hash.sha256", "file.hash.sha256", "dll.hash.sha256":
		e.hash("SHA256", l.Value.Text)
	case "process.pe.imphash", "file.pe.imphash", "dll.pe.imphash":
		e.hash("IMPHASH", l.Value.Text)
	}
}

func (e *ecsParts) hash(algorithm, sum string) {
	if len(e.hashes) > 0 {
		e.hashes = append(e.hashes, ',')
	}
	e.hashes = append(append(append(e.hashes, algorithm...), '='), sum...)
}

// initiated is Sysmon's word for a direction of ECS.
var initiated = map[string]string{"egress": "true", "outbound": "true", "ingress": "false", "inbound": "false"}

func (e *ecsParts) fields(dst []sigma.Field) []sigma.Field {
	dst = appendField(dst, "User", account(e.domain, e.user))
	dst = appendField(dst, "Hashes", string(e.hashes))
	dst = appendField(dst, "Initiated", initiated[e.direction])
	if details := sysmonDetails(e.dataType, e.data); details != e.data {
		dst = appendField(dst, "Details", details)
	}
	return dst
}
