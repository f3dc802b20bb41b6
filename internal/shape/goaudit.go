package shape

import "strings"

// goAudit is an event of the Linux audit system as go-audit joins it: the
// records' text, their types by number, and the names of users beside them.
var goAudit = mapping{
	name:  "go-audit",
	signs: [][]string{{"sequence", "messages.data"}},
	hide:  func(path string) bool { return path == "messages.type" || path == "messages.data" },
	host:  generic.host,
	agent: generic.agent,
	time:  generic.time,
	route: func(r *Reader, d *Doc, _, _ string) *Route {
		r.hold(d)
		a := &r.audit
		a.reset(d.in.fields)
		typ := ""
		for k := range d.leaves {
			switch l := &d.leaves[k]; l.Path.Name {
			case "messages.type":
				if typ = auditTypes[l.Value.Text]; typ == "" {
					typ = l.Value.Text
				}
			case "messages.data":
				a.readRecord(typ, l.Value.Text)
			}
		}
		if a.uid != "" && a.user == "" {
			a.user = d.userOf(a.uid)
		}
		return r.endAudit(d, d.Time, true)
	},
}

// userOf is the name that go-audit gives for a user's number.
func (d *Doc) userOf(uid string) string {
	for k := range d.leaves {
		if id, ok := strings.CutPrefix(d.leaves[k].Path.Name, "uid_map."); ok && id == uid {
			return d.leaves[k].Value.Text
		}
	}
	return ""
}
