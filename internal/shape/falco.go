package shape

import (
	"strings"

	"github.com/picket-edr/picket/internal/flatjson"
	"github.com/picket-edr/picket/sigma"
)

// falco is an alert of Falco: an event, and a rule of Falco's that it broke.
var falco = mapping{
	name:  "falco",
	signs: [][]string{{"rule", "priority", "output_fields"}},
	fields: map[string][]string{
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
	id:      []string{"uuid"},
	host:    []string{"hostname", "output_fields.evt.hostname"},
	time:    []string{"time", "output_fields.evt.time"},
	key:     []string{"output_fields.evt.type"},
	verdict: falcoVerdict,
	route: func(r *Reader, d *Doc, _, call string) *Route {
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
		return linuxRoute(r, d, category)
	},
	derive: func(d *Doc, dst []sigma.Field) []sigma.Field {
		// Older rules of Falco name the parent only.
		if d.get("output_fields.proc.pexepath") == "" {
			dst = appendField(dst, "ParentImage", d.get("output_fields.proc.pname"))
		}
		return dst
	},
}

func falcoVerdict(d *Doc) *Verdict {
	v := &Verdict{RuleID: "falco:" + d.get("rule"), Title: d.get("rule")}
	switch strings.ToLower(d.get("priority")) {
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
		if l.Path.Name == "tags" {
			v.Tags = append(v.Tags, "falco."+strings.Clone(l.Value.Text))
		}
	})
	return v
}
