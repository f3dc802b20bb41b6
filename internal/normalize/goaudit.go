package normalize

import "strings"

// goAuditFormat is an audit event as go-audit joins it: the text of the records, their
// types by number, and the names of users.
var goAuditFormat = format{
	name:           "go-audit",
	discriminators: [][]string{{"sequence", "messages.data"}},
	ignored:        func(path string) bool { return path == "messages.type" || path == "messages.data" },
	hostPaths:      genericFormat.hostPaths,
	agentPaths:     genericFormat.agentPaths,
	timePaths:      genericFormat.timePaths,
	classify: func(r *Reader, d *Event, _, _ string) *Class {
		r.resetText(d)
		a := &r.auditEvent
		a.reset(d.text.fields)
		typ := ""
		for k := range d.leaves {
			switch l := &d.leaves[k]; l.Path.Name {
			case "messages.type":
				if typ = auditRecordTypesByNumber[l.Value.Text]; typ == "" {
					typ = l.Value.Text
				}
			case "messages.data":
				a.readRecord(typ, l.Value.Text)
			}
		}
		if a.uid != "" && a.user == "" {
			a.user = d.userName(a.uid)
		}
		return r.finishAudit(d, d.Time, true)
	},
}

// userName returns the name of a user id, "" if go-audit did not resolve it.
func (d *Event) userName(uid string) string {
	for k := range d.leaves {
		if id, ok := strings.CutPrefix(d.leaves[k].Path.Name, "uid_map."); ok && id == uid {
			return d.leaves[k].Value.Text
		}
	}
	return ""
}
