package shape

import "github.com/picket-edr/picket/sigma"

// A content is what an event holds that is no JSON, as in the message of a line
// of syslog, and what a shape makes of it.
type content struct {
	text, program string // the text, and which program it is of
	within        *Doc   // the event in it, where that has a shape itself
	fields        []sigma.Field
}

// hold gives the event a content, empty yet.
func (r *Reader) hold(d *Doc) {
	r.in = content{fields: r.in.fields[:0]}
	d.in = &r.in
}

// textPaths are where senders of lines of logs put a line, best first.
var textPaths = []string{"message", "log", "MESSAGE", "msg", "event.original", "raw", "_raw"}

// programPaths are where they say which program wrote it. Filebeat's modules
// name the log instead.
var programPaths = []string{
	"program", "programname", "ident", "appname", "app_name", "SYSLOG_IDENTIFIER", "syslog_identifier", "log.syslog.appname",
	"syslog.appname", "syslogtag", "event.dataset",
}

// byText returns the shape of an event with a text in it: that of what the
// text is, or i where it is nothing in particular.
func (r *Reader) byText(d *Doc, i int) int {
	d.m = &mappings[i] // until it is told
	r.hold(d)
	d.findText()
	if d.in.text == "" {
		return i
	}
	for j := range mappings {
		switch m := &mappings[j]; {
		case m.unwrap != nil:
			if raw := m.unwrap(d.in.text); raw != nil && r.readWithin(d, raw) {
				return j
			}
		case m.content != nil && m.content(d):
			return j
		}
	}
	return i
}

// findText finds the text of an event, and the program that it is of.
func (d *Doc) findText() {
	var text, program uint8
	for k := range d.leaves {
		t, v := d.leaves[k].Path.Tag.(*tag), d.leaves[k].Value
		if t.text != 0 && v.Text != "" && (text == 0 || t.text <= text) {
			d.in.text, text = v.Text, t.text
		}
		if t.program != 0 && v.Text != "" && (program == 0 || t.program <= program) {
			d.in.program, program = v.Text, t.program
		}
	}
}

// readWithin reads the event in an event's text. It is Windows' or no event.
func (r *Reader) readWithin(d *Doc, raw []byte) bool {
	if r.inner == nil {
		r.inner = NewReader()
		r.inner.routes = r.routes // so that equal routes are one
	}
	inner, err := r.inner.Read(raw)
	if err != nil || inner.Shape != evtxName {
		return false
	}
	d.in.within = inner
	return true
}
