package shape

import (
	"strings"

	eventlog "github.com/picket-edr/picket/internal/evtx"
)

// eventXML is an event as XML in the text of another: Sysmon for Linux writes
// to syslog so, and forwarders of Windows events can.
var eventXML = mapping{
	name:   "event-xml",
	unwrap: xmlEvent,
	agent:  generic.agent,
	host:   generic.host,
	time:   generic.time,
	route: func(r *Reader, d *Doc, _, _ string) *Route {
		// Whoever forwards it may be another machine, and later.
		if d.in.within.Host != "" {
			d.Host = d.in.within.Host
		}
		if !d.in.within.Time.IsZero() {
			d.Time = d.in.within.Time
		}
		d.in.fields = d.in.within.Fields(d.in.fields)
		return d.in.within.Route
	},
}

// maxEventXML bounds the XML that is read in a text.
const maxEventXML = 1 << 20

// xmlEvent returns the first <Event> in a text as JSON, nil if there is none.
func xmlEvent(text string) []byte {
	start := strings.Index(text, "<Event")
	if start < 0 || len(text)-start > maxEventXML {
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
