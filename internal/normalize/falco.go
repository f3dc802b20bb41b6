package normalize

import (
	"strings"

	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/sigma"
)

// falcoFormat is an alert of Falco: an event and the Falco rule that it matched.
var falcoFormat = format{
	name:           "falco",
	discriminators: [][]string{{"rule", "priority", "output_fields"}},
	fieldNames: map[string][]string{
		"output_fields.proc.exepath":  {"Image"},
		"output_fields.proc.cmdline":  {"CommandLine"},
		"output_fields.proc.cwd":      {"CurrentDirectory"},
		"output_fields.proc.pid":      {"ProcessId"},
		"output_fields.proc.ppid":     {"ParentProcessId"},
		"output_fields.proc.pexepath": {"ParentImage"},
		"output_fields.proc.pcmdline": {"ParentCommandLine"},
		"output_fields.user.name":     {"User"},
		"output_fields.fd.name":       {"TargetFilename"},
		"output_fields.fd.rip":        {"DestinationIp"},
		"output_fields.fd.rport":      {"DestinationPort"},
		"hostname":                    {"Computer"},
	},
	idPaths:       []string{"uuid"},
	hostPaths:     []string{"hostname", "output_fields.evt.hostname"},
	timePaths:     []string{"time", "output_fields.evt.time"},
	classKeyPaths: []string{"output_fields.evt.type"},
	senderAlert:   falcoAlert,
	classify: func(r *Reader, d *Event, _, call string) *Class {
		category := ""
		switch call {
		case "execve", "execveat":
			category = "process_creation"
		case "connect":
			category = "network_connection"
		case "open", "openat", "openat2", "creat", "rename", "renameat", "renameat2":
			category = "file_event"
		case "unlink", "unlinkat":
			category = "file_delete"
		}
		return linuxClass(r, d, category)
	},
	derive: func(d *Event, dst []sigma.Field) []sigma.Field {
		// Older Falco rules name the parent only.
		if d.value("output_fields.proc.pexepath") == "" {
			dst = appendField(dst, "ParentImage", d.value("output_fields.proc.pname"))
		}
		return dst
	},
}

const falcoRulePrefix = "falco:"

func falcoAlert(d *Event) *SenderAlert {
	v := &SenderAlert{RuleID: falcoRulePrefix + d.value("rule"), Title: d.value("rule")}
	switch strings.ToLower(d.value("priority")) {
	case "emergency", "alert", "critical":
		v.Level = sigma.Critical
	case "error":
		v.Level = sigma.High
	case "warning":
		v.Level = sigma.Medium
	case "notice":
		v.Level = sigma.Low
	default:
		v.Level = sigma.Informational
	}
	d.Each(func(l flatjson.Leaf) {
		if l.Path.Name == "tags" && len(v.Tags) < maxAlertTags {
			v.Tags = append(v.Tags, "falco."+l.Value.Text)
		}
	})
	return v
}
