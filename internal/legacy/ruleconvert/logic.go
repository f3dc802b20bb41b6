package ruleconvert

import (
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// A logic is what an old rule looks for, as Sigma's searches.
type logic struct {
	categories []string
	or         bool
	conditions []search
	filters    []search
	notes      []string
}

// categories are Sigma's for the old entity types. The old agent tells of files
// that are made and deleted, which are two in Sigma.
var categories = map[string][]string{
	"process": {"process_creation"},
	"file":    {"file_event", "file_delete"},
	"network": {"network_connection"},
}

// exceptions are those of the record, then those within the logic.
func (o old) exceptions() []any {
	inner, _ := o.rule["exceptions"].([]any)
	if o.record == nil {
		return inner
	}
	outer, _ := o.record["exceptions"].([]any)
	return append(outer[:len(outer):len(outer)], inner...)
}

// logic reads the conditions and exceptions.
func (o old) logic() (l logic, err error) {
	entity := textOf(o.rule["entity_type"])
	var ok bool
	if l.categories, ok = categories[entity]; !ok {
		return l, fmt.Errorf("entity_type %q is none of process, file and network, so the rule never ran", entity)
	}
	switch word, given := o.rule["logic"]; {
	case !given, word == "AND":
	case word == "OR":
		l.or = true
	default:
		return l, fmt.Errorf("logic %v is neither AND nor OR, so the rule never fired", word)
	}
	conditions, _ := o.rule["conditions"].([]any)
	if len(conditions) == 0 {
		return l, fmt.Errorf("there are no conditions")
	}
	for i, c := range conditions {
		s, err := l.search(entity, c)
		if err != nil {
			return l, fmt.Errorf("condition %d: %w", i+1, err)
		}
		l.conditions = append(l.conditions, s)
		if only := operationOf(c); only != "" && !l.or {
			l.categories = []string{only}
		}
	}
	for i, e := range o.exceptions() {
		s, err := l.search(entity, e)
		if err != nil {
			return l, fmt.Errorf("exception %d: %w", i+1, err)
		}
		l.filters = append(l.filters, s)
	}
	if inner, _ := o.rule["exceptions"].([]any); o.record != nil && len(inner) > 0 {
		l.notes = append(l.notes, "exceptions within detection_logic had no effect; here they have")
	}
	return l, nil
}

// search converts one condition and keeps its note.
func (l *logic) search(entity string, v any) (search, error) {
	c, err := readCondition(v)
	if err != nil {
		return nil, err
	}
	s, note, err := c.search(entity)
	if note != "" {
		l.notes = append(l.notes, note)
	}
	return s, err
}

// operationOf returns the category of the files that a condition on the
// operation leaves, "" if it leaves both.
func operationOf(v any) string {
	c, err := readCondition(v)
	if err != nil || c.field != "file.operation" || c.operator != "equals" || !c.cased {
		return ""
	}
	switch textOf(c.value) {
	case "created":
		return "file_event"
	case "deleted":
		return "file_delete"
	}
	return ""
}

// document is the Sigma rule for one category.
func (l logic) document(o old, h head, category string, second bool) *yaml.Node {
	detection := mapping()
	condition := "selection"
	if l.or && len(l.conditions) > 1 {
		alternatives := &yaml.Node{Kind: yaml.SequenceNode}
		for _, s := range l.conditions {
			alternatives.Content = append(alternatives.Content, s.node())
		}
		detection.Content = append(detection.Content, text("selection"), alternatives)
	} else {
		groups := together(l.conditions)
		for i, s := range groups {
			name := "selection"
			if len(groups) > 1 {
				name += "_" + strconv.Itoa(i+1)
				condition = "all of selection_*"
			}
			detection.Content = append(detection.Content, text(name), s.node())
		}
	}
	for i, s := range l.filters {
		detection.Content = append(detection.Content, text("filter_"+strconv.Itoa(i+1)), s.node())
	}
	if len(l.filters) > 0 {
		condition += " and not 1 of filter_*"
	}
	detection.Content = append(detection.Content, text("condition"), text(condition))
	before, after := h.node(o, category, second)
	doc := mapping(before...)
	doc.Content = append(doc.Content, text("logsource"), mapping(text("category"), text(category)), text("detection"), detection)
	doc.Content = append(doc.Content, after...)
	return doc
}

// together joins searches that must all hold into as few as there can be: a
// key can be in one only once.
func together(all []search) []search {
	var groups []search
next:
	for _, s := range all {
		for i, g := range groups {
			if !g.shares(s) {
				groups[i] = append(g[:len(g):len(g)], s...)
				continue next
			}
		}
		groups = append(groups, s)
	}
	return groups
}
