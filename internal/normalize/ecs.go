package normalize

import (
	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/sigma"
)

// ecsFormat is the Elastic Common Schema as written by Elastic Endpoint, Auditbeat and
// ingest pipelines. Sources: ECS 8 and pySigma's pipelines for it.
var ecsFormat = format{
	name: ecsFormatName,
	discriminators: [][]string{
		{"event.category", "process.executable"}, {"event.category", "@timestamp"}, {"ecs.version", "event"}, {"process.executable", "@timestamp"},
	},
	fieldNames: mergeMaps(ecsFields, map[string][]string{
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
	agentPaths:    []string{"agent.id", "agent.name"},
	hostPaths:     []string{"host.name", "host.hostname", "agent.name"},
	timePaths:     []string{"@timestamp", "event.created"},
	osPaths:       []string{"host.os.type", "host.os.family", "host.os.platform", "host.os.name"},
	classKeyPaths: []string{"event.category"},
	mayHoldText:   true,
	classify:      ecsClass,
	derive:        deriveECSFields,
}

const ecsFormatName = "ecs"

// ecsFields are the Sigma names of ECS fields, for events of endpoints and for
// Windows events that went through an ingest pipeline.
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

func ecsClass(r *Reader, d *Event, os, category string) *Class {
	system := normalizeOS(os)
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
			return r.sensorClass(d, system, "process_creation")
		case is("end"):
			return r.sensorClass(d, system, "process_termination")
		case is("change") || is("access"): // of a running process
			return r.sensorClass(d, system, "")
		}
		return r.sensorClass(d, system, "process_creation")
	case "file":
		if is("deletion") {
			return r.sensorClass(d, system, "file_delete")
		}
		return r.sensorClass(d, system, "file_event")
	case "network":
		if d.value("dns.question.name") != "" {
			return r.sensorClass(d, system, "dns_query")
		}
		return r.sensorClass(d, system, "network_connection")
	case "registry":
		switch {
		case is("deletion"):
			return registryClass(r, system, "registry_delete")
		case is("creation"):
			return registryClass(r, system, "registry_add")
		}
		return registryClass(r, system, "registry_set")
	case "library":
		return r.sensorClass(d, system, "image_load")
	case "driver":
		return r.sensorClass(d, system, "driver_load")
	}
	return r.sensorClass(d, system, "")
}

// registryClass returns the class of a registry category. All registry events also
// belong to the category registry_event.
func registryClass(r *Reader, system, category string) *Class {
	return r.internClass(classKey{format: classKeyAnyECS, os: system, more: category}, func() Class {
		return Class{Type: category, OS: system, Sources: []sigma.LogSource{
			{Product: system, Category: category}, {Product: system, Category: "registry_event"},
		}}
	})
}

// deriveECSFields combines fields that ECS splits: Windows writes a user as DOMAIN\name,
// and Sysmon all hashes of a file in one field.
func deriveECSFields(d *Event, dst []sigma.Field) []sigma.Field {
	var e ecsParts
	for k := range d.leaves {
		e.put(&d.leaves[k])
	}
	return e.appendFields(dst)
}

// ecsParts are ECS fields that are combined into one Sigma field.
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
		e.addHash("MD5", l.Value.Text)
	case "process.hash.sha1", "file.hash.sha1", "dll.hash.sha1":
		e.addHash("SHA1", l.Value.Text)
	case "process.hash.sha256", "file.hash.sha256", "dll.hash.sha256":
		e.addHash("SHA256", l.Value.Text)
	case "process.pe.imphash", "file.pe.imphash", "dll.pe.imphash":
		e.addHash("IMPHASH", l.Value.Text)
	}
}

func (e *ecsParts) addHash(algorithm, sum string) {
	if len(e.hashes) > 0 {
		e.hashes = append(e.hashes, ',')
	}
	e.hashes = append(append(append(e.hashes, algorithm...), '='), sum...)
}

// initiatedByDirection maps the network directions of ECS to Sysmon's Initiated.
var initiatedByDirection = map[string]string{"egress": "true", "outbound": "true", "ingress": "false", "inbound": "false"}

func (e *ecsParts) appendFields(dst []sigma.Field) []sigma.Field {
	dst = appendField(dst, "User", accountName(e.domain, e.user))
	dst = appendField(dst, "Hashes", string(e.hashes))
	dst = appendField(dst, "Initiated", initiatedByDirection[e.direction])
	if details := sysmonDetails(e.dataType, e.data); details != e.data {
		dst = appendField(dst, "Details", details)
	}
	return dst
}
