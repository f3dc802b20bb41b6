package normalize

import (
	"strings"

	eventlog "github.com/picket-edr/picket/internal/evtx"
)

// embeddedEventXMLFormat is an event as XML in the text of another event, as Sysmon for Linux and
// some forwarders of Windows events write to syslog.
var embeddedEventXMLFormat = format{
	name:         "event-xml",
	extractEvent: extractXMLEvent,
	agentPaths:   genericFormat.agentPaths,
	hostPaths:    genericFormat.hostPaths,
	timePaths:    genericFormat.timePaths,
	classify: func(r *Reader, d *Event, _, _ string) *Class {
		// The forwarder may be another machine, and its time is later.
		if d.text.event.Host != "" {
			d.Host = d.text.event.Host
		}
		if !d.text.event.Time.IsZero() {
			d.Time = d.text.event.Time
		}
		d.text.fields = d.text.event.Fields(d.text.fields)
		return d.text.event.Class
	},
}

// maxEventXMLBytes bounds the XML of an event.
const maxEventXMLBytes = 1 << 20

// extractXMLEvent returns the first <Event> in a text as JSON, nil if there is none.
func extractXMLEvent(text string) (eventJSON []byte) {
	start := strings.Index(text, "<Event")
	if start < 0 || len(text)-start > maxEventXMLBytes {
		return nil
	}
	length := strings.Index(text[start:], "</Event>")
	if length < 0 {
		return nil
	}
	var event []byte
	err := eventlog.ReadXML(strings.NewReader(text[start:start+length+len("</Event>")]), func(raw []byte) error {
		event = raw
		return nil
	})
	if err != nil {
		return nil
	}
	return event
}
