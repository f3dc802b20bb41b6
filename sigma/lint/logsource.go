package lint

import (
	"slices"
	"strings"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/suggest"
)

// logSourceChecks compare logsources and fields with those that are known.
var logSourceChecks = []check{
	{Check: Check{"unknown_logsource", Info, "a logsource that events of no known format have"}, document: checkLogSource},
	{Check: Check{"misspelt_logsource", Warning, "a logsource that looks like a misspelling of a known one"}, document: checkLogSource},
	{Check: Check{"specific_logsource", Warning, "an EventID of a service for which there is a category"}, item: checkEventIDHasCategory},
	{Check: Check{"category_event_id", Info, "an EventID under a category, which determines it already"}, item: func(l *linter, d *document, it *ast.DetectionItem) {
		if it.Field != "EventID" || d.source.Category == "" {
			return
		}
		for _, k := range l.coveredKnownSources(d.source) {
			if len(k.EventIDs) > 0 {
				l.addFinding(d, it.Position, "remove it, or name a service", "the category %s determines the EventID", d.source.Category)
				return
			}
		}
	}},
	{Check: Check{"unknown_field", Info, "a field that no known event of the logsource has"}, item: checkFieldName},
	{Check: Check{"field_case", Warning, "a field that events have in a different case"}, item: checkFieldName},
}

// coveredKnownSources returns the known logsources that a rule's logsource covers.
func (l *linter) coveredKnownSources(source ast.LogSource) []*KnownLogSource {
	var out []*KnownLogSource
	for i := range l.options.Known {
		if k := &l.options.Known[i]; source.Covers(k.LogSource) {
			out = append(out, k)
		}
	}
	return out
}

// checkLogSource makes both unknown_logsource and misspelt_logsource.
func checkLogSource(l *linter, d *document) {
	if l.options.Known == nil || d.detections == nil || len(l.coveredKnownSources(d.source)) > 0 {
		return
	}
	at := ast.Position{}
	if len(d.meta.LogSourceKeys) > 0 {
		at = d.meta.LogSourceKeys[0].Position
	}
	hint := l.suggestLogSource(d.source)
	if misspelt := hint != ""; misspelt != (l.check.Name == "misspelt_logsource") {
		return
	}
	if hint == "" && l.options.UnknownLogSourceHint != nil {
		hint = l.options.UnknownLogSourceHint(d.source)
	}
	l.addFinding(d, at, hint, "no known format has events of the logsource %s", d.source)
}

// suggestLogSource returns a hint at what an unknown logsource was meant to be, "" if it
// resembles no known one. The events of a product have categories and services of their own.
func (l *linter) suggestLogSource(s ast.LogSource) string {
	var products, categories, services []string
	for i := range l.options.Known {
		k := &l.options.Known[i]
		products = append(products, k.Product)
		if s.Product == "" || s.Product == k.Product {
			categories, services = append(categories, k.Category), append(services, k.Service)
		}
	}
	switch {
	case s.Product != "" && !slices.Contains(products, s.Product):
		return suggest.DidYouMean(s.Product, products, "")
	case s.Category != "" && !slices.Contains(categories, s.Category):
		return suggest.DidYouMean(s.Category, categories, "")
	case s.Service != "" && !slices.Contains(services, s.Service):
		return suggest.DidYouMean(s.Service, services, "")
	}
	return ""
}

// checkEventIDHasCategory finds rules for a service that select events for which there is
// a category: with the category, they would match those of other sources too.
func checkEventIDHasCategory(l *linter, d *document, it *ast.DetectionItem) {
	if it.Field != "EventID" || d.source.Service == "" || d.source.Category != "" || len(it.Modifiers) > 0 {
		return
	}
	for _, v := range it.Values {
		for i := range l.options.Known {
			if k := &l.options.Known[i]; d.source.Covers(k.LogSource) && k.Category != "" && slices.Contains(k.EventIDs, v.Text) {
				l.addFinding(d, v.Position, "write category: "+k.Category+" for the service", "EventID %s of %s belongs to the category %s", v.Text, d.source.Service, k.Category)
				break
			}
		}
	}
}

// checkFieldName makes both unknown_field and field_case.
func checkFieldName(l *linter, d *document, it *ast.DetectionItem) {
	if it.Keyword || l.options.Known == nil {
		return
	}
	known := l.coveredKnownSources(d.source)
	for _, k := range known {
		if k.Fields == nil || slices.Contains(k.Fields, it.Field) {
			return
		}
	}
	if len(known) == 0 {
		return
	}
	other := ""
	for _, k := range known {
		if i := slices.IndexFunc(k.Fields, func(f string) bool { return strings.EqualFold(f, it.Field) }); i >= 0 {
			other = k.Fields[i]
		}
	}
	switch {
	case other != "" && l.check.Name == "field_case":
		l.addFinding(d, it.Position, "write "+other, "the field %s is named %s in events", it.Field, other)
	case other == "" && l.check.Name == "unknown_field":
		l.addFinding(d, it.Position, suggest.DidYouMean(it.Field, known[0].Fields, ""), "no known event of %s has a field %s", d.source, it.Field)
	}
}

// NearestName returns the known name that a misspelt one was probably meant to be, ""
// if none is similar.
func NearestName(name string, known []string) string { return suggest.Nearest(name, known) }
