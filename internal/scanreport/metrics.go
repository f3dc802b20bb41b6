package scanreport

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/internal/printable"
	"github.com/picket-edr/picket/sigma"
)

// Metrics counts events without rules: what logs hold, who logged on, and which records
// are missing. Each list is bounded by maxSummaryKeys. It is not safe for concurrent use.
type Metrics struct {
	Events      int64
	Unreadable  int64
	First, Last time.Time
	location    *time.Location
	types       map[eventType]int64
	hosts       map[string]int64
	logons      map[Logon]*logonCounts
	records     map[recordLog]*recordNumbers
	reader      *normalize.Reader
	fields      []sigma.Field
}

// An eventType is a kind of event: the channel of Windows or the type of another event,
// and the event id of Windows.
type eventType struct{ Channel, EventID string }

// A Logon is who logged on from where, and how.
type Logon struct {
	User    string `json:"user"`
	Address string `json:"address"`
	Type    string `json:"type"`
}

type logonCounts struct{ succeeded, failed int64 }

// A recordLog is a log with numbered records.
type recordLog struct{ Host, Channel string }

// recordNumbers are the numbers of the records that were seen: ranges in order, which do
// not touch one another.
type recordNumbers struct {
	records uint64
	ranges  []RecordRange
	dropped int // ranges beyond maxRecordRanges
}

// A RecordRange is numbers of records, the first and the last of them.
type RecordRange struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// maxRecordRanges bounds the ranges of a log.
const maxRecordRanges = 1000

// add notes a number above 0.
func (r *recordNumbers) add(n uint64) {
	r.records++
	i, _ := slices.BinarySearchFunc(r.ranges, n, func(x RecordRange, n uint64) int { return cmp.Compare(x.To, n-1) })
	switch {
	case i == len(r.ranges) || n+1 < r.ranges[i].From:
		if len(r.ranges) == maxRecordRanges {
			r.dropped++
			return
		}
		r.ranges = slices.Insert(r.ranges, i, RecordRange{n, n})
	case n > r.ranges[i].To:
		r.ranges[i].To = n
		if i+1 < len(r.ranges) && r.ranges[i+1].From == n+1 {
			r.ranges[i].To = r.ranges[i+1].To
			r.ranges = slices.Delete(r.ranges, i+1, i+2)
		}
	default:
		r.ranges[i].From = min(r.ranges[i].From, n)
	}
}

// gaps returns the ranges that are missing between those that were seen.
func (r *recordNumbers) gaps() []RecordRange {
	missing := []RecordRange{}
	for i := 1; i < len(r.ranges); i++ {
		missing = append(missing, RecordRange{r.ranges[i-1].To + 1, r.ranges[i].From - 1})
	}
	return missing
}

// NewMetrics returns empty metrics, with times in a zone.
func NewMetrics(zone *time.Location) *Metrics {
	return &Metrics{location: zone, types: make(map[eventType]int64), hosts: make(map[string]int64), logons: make(map[Logon]*logonCounts),
		records: make(map[recordLog]*recordNumbers), reader: normalize.NewReader()}
}

// Add counts an event.
func (m *Metrics) Add(raw []byte) {
	ev, err := m.reader.Read(raw)
	if err != nil {
		m.Unreadable++
		return
	}
	m.Events++
	m.fields = ev.Fields(m.fields[:0])
	r := row{fields: m.fields, read: true}
	if !ev.Time.IsZero() {
		if m.First.IsZero() || ev.Time.Before(m.First) {
			m.First = ev.Time
		}
		if ev.Time.After(m.Last) {
			m.Last = ev.Time
		}
	}
	host := boundedKey(ev.Host)
	if host != "" {
		countBounded(m.hosts, host)
	}
	kind := eventType{boundedKey(r.field("Channel")), boundedKey(r.field("EventID"))}
	if kind.Channel == "" {
		kind = eventType{Channel: boundedKey(cmp.Or(ev.Type, ev.Class.Type))}
	}
	if _, ok := m.types[kind]; !ok && len(m.types) >= maxSummaryKeys {
		kind = eventType{Channel: "(other)"}
	}
	m.types[kind]++
	m.addLogon(&r, kind)
	if n, err := strconv.ParseUint(r.field("EventRecordID"), 10, 64); err == nil && 0 < n && n < math.MaxInt64 {
		m.addRecord(recordLog{host, kind.Channel}, n)
	}
}

// addLogon counts a logon of Windows.
func (m *Metrics) addLogon(r *row, kind eventType) {
	if kind.Channel != "Security" || kind.EventID != "4624" && kind.EventID != "4625" {
		return
	}
	user := r.field("TargetUserName")
	if domain := r.field("TargetDomainName"); domain != "" && domain != "-" {
		user = domain + `\` + user
	}
	l := Logon{boundedKey(user), boundedKey(r.field("IpAddress")), readable("LogonType", boundedKey(r.field("LogonType")))}
	if m.logons[l] == nil {
		if len(m.logons) >= maxSummaryKeys {
			l = Logon{User: "(other)"}
		}
		if m.logons[l] == nil {
			m.logons[l] = new(logonCounts)
		}
	}
	if kind.EventID == "4624" {
		m.logons[l].succeeded++
	} else {
		m.logons[l].failed++
	}
}

// addRecord notes the number of a record.
func (m *Metrics) addRecord(log recordLog, n uint64) {
	if m.records[log] == nil {
		if len(m.records) >= maxSummaryKeys {
			return
		}
		m.records[log] = new(recordNumbers)
	}
	m.records[log].add(n)
}

// metricsJSON is metrics for programs.
type metricsJSON struct {
	Events     int64             `json:"events"`
	Unreadable int64             `json:"unreadable"`
	First      *time.Time        `json:"first"`
	Last       *time.Time        `json:"last"`
	Types      []typeCountJSON   `json:"types"`
	Hosts      []NamedEventCount `json:"hosts"`
	Logons     []logonJSON       `json:"logons"`
	Logs       []recordLogJSON   `json:"logs"`
}

// A NamedEventCount is a number of events with a name.
type NamedEventCount struct {
	Name  string `json:"name"`
	Count int64  `json:"events"`
}

type typeCountJSON struct {
	Channel string `json:"channel"`
	EventID string `json:"event_id,omitempty"`
	Count   int64  `json:"events"`
}

type logonJSON struct {
	Logon
	Succeeded int64 `json:"succeeded"`
	Failed    int64 `json:"failed"`
}

type recordLogJSON struct {
	Host     string        `json:"host"`
	Channel  string        `json:"channel"`
	First    uint64        `json:"first_record"`
	Last     uint64        `json:"last_record"`
	Records  uint64        `json:"records"`
	Gaps     []RecordRange `json:"gaps"`
	MoreGaps int           `json:"more_gaps,omitempty"`
}

// lists returns the metrics, most events first.
func (m *Metrics) lists() metricsJSON {
	out := metricsJSON{Events: m.Events, Unreadable: m.Unreadable, Types: []typeCountJSON{}, Hosts: []NamedEventCount{}, Logons: []logonJSON{}, Logs: []recordLogJSON{}}
	if !m.First.IsZero() {
		out.First, out.Last = &m.First, &m.Last
	}
	for t, n := range m.types {
		out.Types = append(out.Types, typeCountJSON{t.Channel, t.EventID, n})
	}
	slices.SortFunc(out.Types, func(a, b typeCountJSON) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.EventID, b.EventID))
	})
	for _, h := range largest(m.hosts, maxSummaryKeys) {
		out.Hosts = append(out.Hosts, NamedEventCount(h))
	}
	for l, n := range m.logons {
		out.Logons = append(out.Logons, logonJSON{l, n.succeeded, n.failed})
	}
	slices.SortFunc(out.Logons, func(a, b logonJSON) int {
		return cmp.Or(cmp.Compare(b.Failed, a.Failed), cmp.Compare(b.Succeeded, a.Succeeded), cmp.Compare(a.User, b.User), cmp.Compare(a.Address, b.Address), cmp.Compare(a.Type, b.Type))
	})
	for l, r := range m.records {
		out.Logs = append(out.Logs, recordLogJSON{l.Host, l.Channel, r.ranges[0].From, r.ranges[len(r.ranges)-1].To, r.records, r.gaps(), r.dropped})
	}
	slices.SortFunc(out.Logs, func(a, b recordLogJSON) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Channel, b.Channel))
	})
	return out
}

// JSON returns the metrics for encoding/json.
func (m *Metrics) JSON() any { return m.lists() }

// Write writes the metrics for people, with at most limit of each kind.
func (m *Metrics) Write(w io.Writer, limit int) error {
	all := m.lists()
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "%d events", m.Events)
	if !m.First.IsZero() {
		const layout = "2006-01-02 15:04:05 MST"
		fmt.Fprintf(t, ", first %s, last %s", m.First.In(m.location).Format(layout), m.Last.In(m.location).Format(layout))
	}
	fmt.Fprint(t, "\n\nEVENTS\tEVENT ID\tCHANNEL OR TYPE\n")
	for _, c := range all.Types[:min(limit, len(all.Types))] {
		fmt.Fprintf(t, "%d\t%s\t%s\n", c.Count, printable.Text(cmp.Or(c.EventID, "-")), printable.Text(c.Channel))
	}
	fmt.Fprint(t, "\nEVENTS\tHOST\n")
	for _, h := range all.Hosts[:min(limit, len(all.Hosts))] {
		fmt.Fprintf(t, "%d\t%s\n", h.Count, printable.Text(h.Name))
	}
	if len(all.Logons) > 0 {
		fmt.Fprint(t, "\nFAILED\tLOGONS\tUSER\tADDRESS\tTYPE\n")
	}
	for _, l := range all.Logons[:min(limit, len(all.Logons))] {
		fmt.Fprintf(t, "%d\t%d\t%s\t%s\t%s\n", l.Failed, l.Succeeded, printable.Text(l.User), printable.Text(cmp.Or(l.Address, "-")), printable.Text(l.Type))
	}
	if len(all.Logs) > 0 {
		fmt.Fprint(t, "\nRECORDS\tFROM\tTO\tLOG\tMISSING\n")
	}
	for _, l := range all.Logs[:min(limit, len(all.Logs))] {
		fmt.Fprintf(t, "%d\t%d\t%d\t%s\t%s\n", l.Records, l.First, l.Last, printable.Text(l.Channel+" of "+cmp.Or(l.Host, "-")), gapsText(l))
	}
	return t.Flush()
}

// gapsText lists the first gaps of a log.
func gapsText(l recordLogJSON) string {
	const listed = 3
	if len(l.Gaps) == 0 {
		return "none"
	}
	var parts []string
	for _, g := range l.Gaps[:min(listed, len(l.Gaps))] {
		if g.From == g.To {
			parts = append(parts, strconv.FormatUint(g.From, 10))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", g.From, g.To))
		}
	}
	if more := len(l.Gaps) + l.MoreGaps - len(parts); more > 0 {
		parts = append(parts, fmt.Sprintf("%d more gaps", more))
	}
	return strings.Join(parts, ", ")
}
