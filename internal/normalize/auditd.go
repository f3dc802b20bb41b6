package normalize

// auditd is the format of auditd's own records, one or several lines of one event,
// in the text of another event.
var auditd = format{
	name:        "auditd",
	matchesText: func(d *Event) bool { return hasRecord(d.text.text) },
	agentPaths:  generic.agentPaths,
	hostPaths:   generic.hostPaths,
	timePaths:   generic.timePaths,
	classify: func(r *Reader, d *Event, _, _ string) *Class {
		r.auditEvent.reset(d.text.fields)
		head, joined := r.auditEvent.readRecords(d.text.text)
		if d.Host == "" {
			d.Host = head.node
		}
		return r.finishAudit(d, head.time(), joined)
	},
}
