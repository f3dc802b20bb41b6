package shape

// auditd is records of the Linux audit system as auditd writes them, one or the
// several lines of one event, in the text of another event.
var auditd = mapping{
	name:    "auditd",
	content: func(d *Doc) bool { return hasRecord(d.in.text) },
	agent:   generic.agent,
	host:    generic.host,
	time:    generic.time,
	route: func(r *Reader, d *Doc, _, _ string) *Route {
		r.audit.reset(d.in.fields)
		head, joined := r.audit.readRecords(d.in.text)
		if d.Host == "" {
			d.Host = head.node
		}
		return r.endAudit(d, head.time(), joined)
	},
}
