package scanreport

import (
	"strconv"
	"strings"
	"time"

	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/scan"
	"github.com/picket-edr/picket/sigma"
)

// A row is a match with its rule. It reads its event only if a field is asked for.
type row struct {
	scan.LocatedMatch
	rule     *ruleset.RuleInfo // nil if it is not known
	location *time.Location

	events *normalize.Reader
	read   bool
	fields []sigma.Field
}

// rowReader makes rows, each valid until the next: they share a reader of events.
type rowReader struct {
	rules    map[string]*ruleset.RuleInfo // by id
	filter   *Filter
	location *time.Location
	events   *normalize.Reader
}

func newRowReader(o Options) rowReader {
	r := rowReader{rules: make(map[string]*ruleset.RuleInfo), filter: &o.Filter, location: o.Location, events: normalize.NewReader()}
	for i := range o.Rules {
		r.rules[o.Rules[i].ID] = &o.Rules[i]
	}
	return r
}

func (r *rowReader) row(m scan.LocatedMatch) *row {
	out := &row{LocatedMatch: m, rule: r.rules[m.RuleID], location: r.location, events: r.events}
	if level, ok := r.filter.Levels[m.RuleID]; ok {
		out.Level = level
	}
	return out
}

// field returns the value of the event's first field with a name.
func (r *row) field(name string) string {
	if !r.read {
		r.read = true
		if ev, err := r.events.Read(r.Raw); err == nil { // detection has read it before
			r.fields = ev.Fields(nil)
		}
	}
	for i := range r.fields {
		if r.fields[i].Name == name {
			return r.fields[i].Value.Text
		}
	}
	return ""
}

// Profile returns the columns of a profile, minimal, standard or verbose; ok is false if
// there is no such profile. A column is one of time, level, title, rule_id, status, tags,
// techniques, tactics, host, file, record, record_id and evidence, or the name of a field
// of the events.
func Profile(name string) (columns []string, ok bool) {
	switch name {
	case "minimal":
		return []string{"time", "level", "host", "title"}, true
	case "standard":
		return []string{"time", "level", "host", "Channel", "EventID", "record_id", "title", "evidence", "file"}, true
	case "verbose":
		return []string{"time", "level", "host", "Provider_Name", "Channel", "EventID", "record_id", "title", "rule_id", "status", "tactics",
			"techniques", "User", "Image", "CommandLine", "ParentImage", "evidence", "file", "record"}, true
	}
	return nil, false
}

// value returns the value of a column, which shares no bytes with the event.
func (r *row) value(column string) string {
	switch column {
	case "time":
		if r.Time.IsZero() {
			return ""
		}
		return r.Time.In(r.location).Format("2006-01-02T15:04:05.000Z07:00")
	case "level":
		return r.Level.String()
	case "title":
		return r.Title
	case "rule_id":
		return r.RuleID
	case "status":
		if r.rule == nil {
			return ""
		}
		return r.rule.Status
	case "tags":
		return strings.Join(r.Tags, " ")
	case "techniques":
		return strings.Join(techniques(r.Tags), " ")
	case "tactics":
		return strings.Join(tactics(r.Tags), " ")
	case "host":
		return strings.Clone(r.Host)
	case "file":
		return r.File
	case "record":
		return strconv.Itoa(r.Record)
	case "record_id":
		return r.EventRecordID
	case "evidence":
		return evidenceText(r.Why)
	}
	return strings.Clone(readable(column, r.field(column)))
}

func evidenceText(why []sigma.Evidence) string {
	var b strings.Builder
	for i, e := range why {
		if i > 0 {
			b.WriteString(" · ")
		}
		b.WriteString(e.Field + "=" + e.Value)
	}
	return b.String()
}

// techniques returns the ids of the ATT&CK techniques of tags, as in T1059.001.
func techniques(tags []string) (ids []string) {
	for _, tag := range tags {
		if id, ok := attackTag(tag); ok && isTechnique(id) {
			ids = append(ids, strings.ToUpper(id))
		}
	}
	return ids
}

// tactics returns the ATT&CK tactics of tags, as in execution.
func tactics(tags []string) (names []string) {
	for _, tag := range tags {
		if id, ok := attackTag(tag); ok && !hasNumber(id) {
			names = append(names, id)
		}
	}
	return names
}

func attackTag(tag string) (id string, ok bool) {
	id, ok = strings.CutPrefix(strings.ToLower(tag), "attack.")
	return id, ok && id != ""
}

func isTechnique(id string) bool { return id[0] == 't' && hasNumber(id) }

// hasNumber reports whether an id is a letter and a number, as those of techniques, groups
// and software are.
func hasNumber(id string) bool { return len(id) > 1 && '0' <= id[1] && id[1] <= '9' }
