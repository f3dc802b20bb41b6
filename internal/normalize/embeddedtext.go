package normalize

import "github.com/picket-edr/picket/sigma"

// An embeddedText is text in an event that may be an event or a log line of
// another format, such as the message of a syslog line.
type embeddedText struct {
	text, program string // the text, and the program that wrote it
	event         *Event // the event in the text, if it is one
	fields        []sigma.Field
}

// resetText gives the event an empty text.
func (r *Reader) resetText(d *Event) {
	r.text = embeddedText{fields: r.text.fields[:0]}
	d.text = &r.text
}

// setHostFromText sets the host that only the text of an event names. The event gets a
// field of it, as others have.
func (d *Event) setHostFromText(host string) {
	d.Host = host
	d.text.fields = appendField(d.text.fields, "host", host)
}

// textPaths are the paths at which senders put a log line, best first.
var textPaths = []string{"message", "log", "MESSAGE", "msg", "event.original", "raw", "_raw"}

// programPaths are the paths at which senders put the program that wrote the line.
// Filebeat's modules name the log instead.
var programPaths = []string{
	"program", "programname", "ident", "appname", "app_name", "SYSLOG_IDENTIFIER", "syslog_identifier", "log.syslog.appname",
	"syslog.appname", "syslogtag", "event.dataset",
}

// detectTextFormat returns the format of an event with text: the format of the
// text, or fallback if the text has none.
func (r *Reader) detectTextFormat(d *Event, fallback int) (formatIndex int) {
	d.format = &formats[fallback] // until it is known
	r.resetText(d)
	d.findEmbeddedText()
	if d.text.text == "" {
		return fallback
	}
	for j := range formats {
		switch m := &formats[j]; {
		case m.extractEvent != nil:
			if raw := m.extractEvent(d.text.text); raw != nil && r.readEmbeddedEvent(d, raw) {
				return j
			}
		case m.matchesText != nil && m.matchesText(d):
			return j
		}
	}
	return fallback
}

// findEmbeddedText finds the text of an event and the program that wrote it.
func (d *Event) findEmbeddedText() {
	var text, program uint8
	for k := range d.leaves {
		t, v := d.leaves[k].Path.Data.(*jsonPathData), d.leaves[k].Value
		if t.textRank != 0 && v.Text != "" && (text == 0 || t.textRank <= text) {
			d.text.text, text = v.Text, t.textRank
		}
		if t.programRank != 0 && v.Text != "" && (program == 0 || t.programRank <= program) {
			d.text.program, program = v.Text, t.programRank
		}
	}
}

// readEmbeddedEvent reads the Windows event in a text. It returns false if there is
// none.
func (r *Reader) readEmbeddedEvent(d *Event, raw []byte) (found bool) {
	if r.embedded == nil {
		r.embedded = NewReader()
		r.embedded.classes = r.classes // so that equal classes are one pointer
	}
	inner, err := r.embedded.Read(raw)
	if err != nil || inner.Format != evtxFormatName {
		return false
	}
	d.text.event = inner
	return true
}
