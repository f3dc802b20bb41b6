package normalize

// auditdFormat is the format of auditd's own records, one or several lines of one event,
// in the text of another event.
var auditdFormat = format{
	name:        "auditd",
	matchesText: func(d *Event) bool { return hasAuditRecord(d.text.text) },
	agentPaths:  genericFormat.agentPaths,
	hostPaths:   genericFormat.hostPaths,
	timePaths:   genericFormat.timePaths,
	classify: func(r *Reader, d *Event, _, _ string) *Class {
		r.auditEvent.reset(d.text.fields)
		head, joined := r.auditEvent.readRecords(d.text.text)
		class := r.finishAudit(d, head.time(), joined)
		if d.Host == "" {
			d.setHostFromText(head.node)
		}
		return class
	},
}
