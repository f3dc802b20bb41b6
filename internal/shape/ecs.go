package shape

import "github.com/picket-edr/picket/sigma"

// ecs is Elastic Common Schema as Elastic Endpoint, Auditbeat and ingest
// pipelines make it. Field names: ECS 8 and pySigma's pipelines for it.
var ecs = mapping{
	name: "ecs",
	signs: [][]string{
		{"event.category", "process.executable"}, {"event.category", "@timestamp"}, {"ecs.version", "event"}, {"process.executable", "@timestamp"},
	},
	fields: map[string][]string{
		"process.executable":                     {"Image"},
		"process.command_line":                   {"CommandLine"},
		"process.working_directory":              {"CurrentDirectory"},
		"process.pid":                            {"ProcessId"},
		"process.entity_id":                      {"ProcessGuid"},
		"process.parent.executable":              {"ParentImage"},
		"process.parent.command_line":            {"ParentCommandLine"},
		"process.parent.pid":                     {"ParentProcessId"},
		"process.parent.entity_id":               {"ParentProcessGuid"},
		"process.pe.original_file_name":          {"OriginalFileName"},
		"process.pe.company":                     {"Company"},
		"process.pe.description":                 {"Description"},
		"process.pe.product":                     {"Product"},
		"process.pe.file_version":                {"FileVersion"},
		"process.pe.imphash":                     {"Imphash"},
		"process.hash.md5":                       {"md5"},
		"process.hash.sha1":                      {"sha1"},
		"process.hash.sha256":                    {"sha256"},
		"process.Ext.token.integrity_level_name": {"IntegrityLevel"},
		"dll.path":                               {"ImageLoaded"},
		"file.path":                              {"TargetFilename"},
		"destination.ip":                         {"DestinationIp"},
		"destination.port":                       {"DestinationPort"},
		"destination.domain":                     {"DestinationHostname"},
		"source.ip":                              {"SourceIp"},
		"source.port":                            {"SourcePort"},
		"network.transport":                      {"Protocol"},
		"dns.question.name":                      {"QueryName"},
		"dns.answers.data":                       {"QueryResults"},
		"registry.path":                          {"TargetObject"},
		"registry.data.strings":                  {"Details"},
		"event.code":                             {"EventID"},
		"event.provider":                         {"Provider_Name"},
		"host.name":                              {"Computer"},
		"message":                                {"Message"},
	},
	agent:  []string{"agent.id", "agent.name"},
	host:   []string{"host.name", "host.hostname", "agent.name"},
	time:   []string{"@timestamp", "event.created"},
	os:     []string{"host.os.type", "host.os.family", "host.os.platform", "host.os.name"},
	key:    []string{"event.category"},
	route:  ecsRoute,
	derive: ecsDerive,
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
	sigmaCategory := ""
	switch category {
	case "process":
		sigmaCategory = "process_creation"
		if is("end") {
			sigmaCategory = "process_termination"
		}
	case "file":
		sigmaCategory = "file_event"
		if is("deletion") {
			sigmaCategory = "file_delete"
		}
	case "network":
		sigmaCategory = "network_connection"
		if d.get("dns.question.name") != "" {
			sigmaCategory = "dns_query"
		}
	case "registry":
		sigmaCategory = "registry_set"
		if is("deletion") {
			sigmaCategory = "registry_delete"
		}
	case "library":
		sigmaCategory = "image_load"
	case "driver":
		sigmaCategory = "driver_load"
	}
	return r.sensorRoute(d, system, sigmaCategory)
}

// ecsDerive joins what ECS keeps in two: Windows writes a user as DOMAIN\name.
func ecsDerive(d *Doc, dst []sigma.Field) []sigma.Field {
	user := d.get("user.name")
	if domain := d.get("user.domain"); user != "" && domain != "" {
		user = domain + `\` + user
	}
	return appendField(dst, "User", user)
}
