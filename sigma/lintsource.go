package sigma

import (
	"slices"
	"strings"
)

// sourceChecks compare logsources and fields with those that are known.
var sourceChecks = []check{
	{LintCheck: LintCheck{"unknown_logsource", LintInfo, "a logsource that no known event has"}, document: func(l *linter, d *lintDoc) {
		if l.options.Known != nil && d.search != nil && len(l.known(d.source)) == 0 {
			at := place{}
			if len(d.meta.sourceKeys) > 0 {
				at = d.meta.sourceKeys[0].place
			}
			l.add(d, at, l.nearSource(d.source), "there are no events of the logsource %s", d.source)
		}
	}},
	{LintCheck: LintCheck{"specific_logsource", LintWarning, "an EventID of a service that a category stands for"}, item: checkSpecific},
	{LintCheck: LintCheck{"category_event_id", LintInfo, "an EventID under a category, which says it already"}, item: func(l *linter, d *lintDoc, it *item) {
		if it.field != "EventID" || d.source.Category == "" {
			return
		}
		for _, k := range l.known(d.source) {
			if len(k.EventIDs) > 0 {
				l.add(d, it.place, "leave it out, or name a service", "the category %s says which EventID it is", d.source.Category)
				return
			}
		}
	}},
	{LintCheck: LintCheck{"unknown_field", LintInfo, "a field that no known event of the logsource has"}, item: checkField},
	{LintCheck: LintCheck{"field_case", LintWarning, "a field that events have in other case"}, item: checkField},
}

// known returns the known logsources that a rule's one covers.
func (l *linter) known(source LogSource) []*KnownSource {
	var out []*KnownSource
	for i := range l.options.Known {
		if k := &l.options.Known[i]; source.Covers(k.LogSource) {
			out = append(out, k)
		}
	}
	return out
}

// nearSource hints at what may have been meant by an unknown logsource.
func (l *linter) nearSource(s LogSource) string {
	var categories, services []string
	for i := range l.options.Known {
		k := &l.options.Known[i]
		categories, services = append(categories, k.Category), append(services, k.Service)
	}
	if s.Category != "" && !slices.Contains(categories, s.Category) {
		return didYouMean(s.Category, categories, "")
	}
	if s.Service != "" && !slices.Contains(services, s.Service) {
		return didYouMean(s.Service, services, "")
	}
	return ""
}

// checkSpecific looks at rules for a service that ask for events which a
// category stands for: with the category, they would find those of other
// senders too.
func checkSpecific(l *linter, d *lintDoc, it *item) {
	if it.field != "EventID" || d.source.Service == "" || d.source.Category != "" || len(it.modifiers) > 0 {
		return
	}
	for _, v := range it.values {
		for i := range l.options.Known {
			if k := &l.options.Known[i]; d.source.Covers(k.LogSource) && k.Category != "" && slices.Contains(k.EventIDs, v.text) {
				l.add(d, v.place, "write category: "+k.Category+" for the service", "EventID %s of %s is of the category %s", v.text, d.source.Service, k.Category)
				break
			}
		}
	}
}

// checkField is both unknown_field and field_case.
func checkField(l *linter, d *lintDoc, it *item) {
	if it.keyword || l.options.Known == nil {
		return
	}
	known := l.known(d.source)
	for _, k := range known {
		if k.Fields == nil || slices.Contains(k.Fields, it.field) {
			return
		}
	}
	if len(known) == 0 {
		return
	}
	other := ""
	for _, k := range known {
		if i := slices.IndexFunc(k.Fields, func(f string) bool { return strings.EqualFold(f, it.field) }); i >= 0 {
			other = k.Fields[i]
		}
	}
	switch {
	case other != "" && l.check.Name == "field_case":
		l.add(d, it.place, "write "+other, "the field %s is %s in events", it.field, other)
	case other == "" && l.check.Name == "unknown_field":
		l.add(d, it.place, didYouMean(it.field, known[0].Fields, ""), "events of %s have no field %s that is known", d.source, it.field)
	}
}
