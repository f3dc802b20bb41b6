package ruleconvert

import (
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// convertedConditions are the conditions and exceptions of a legacy rule as Sigma
// selections.
type convertedConditions struct {
	categories []string
	anyOf      bool
	conditions []selection
	filters    []selection
	notes      []string
}

// categoriesByEntityType maps legacy entity types to Sigma's categories. Creating and deleting a
// file are one entity type, and two categories.
var categoriesByEntityType = map[string][]string{
	"process": {"process_creation"},
	"file":    {"file_event", "file_delete"},
	"network": {"network_connection"},
}

// exceptions returns the exceptions of the record, then those of detection_logic.
func (o legacyRule) exceptions() []any {
	inner, _ := o.detection["exceptions"].([]any)
	if o.record == nil {
		return inner
	}
	outer, _ := o.record["exceptions"].([]any)
	return append(outer[:len(outer):len(outer)], inner...)
}

// convertConditions converts the conditions and exceptions.
func (o legacyRule) convertConditions() (l convertedConditions, err error) {
	entityType := textOf(o.detection["entity_type"])
	var ok bool
	if l.categories, ok = categoriesByEntityType[entityType]; !ok {
		return l, fmt.Errorf("entity_type %q is none of process, file and network, so the rule never ran", entityType)
	}
	switch word, given := o.detection["logic"]; {
	case !given, word == "AND":
	case word == "OR":
		l.anyOf = true
	default:
		return l, fmt.Errorf("logic %v is neither AND nor OR, so the rule never fired", word)
	}
	conditions, _ := o.detection["conditions"].([]any)
	if len(conditions) == 0 {
		return l, fmt.Errorf("there are no conditions")
	}
	for i, c := range conditions {
		s, err := l.convertCondition(entityType, c)
		if err != nil {
			return l, fmt.Errorf("condition %d: %w", i+1, err)
		}
		l.conditions = append(l.conditions, s)
		if only := fileOperationCategory(c); only != "" && !l.anyOf {
			l.categories = []string{only}
		}
	}
	for i, e := range o.exceptions() {
		s, err := l.convertCondition(entityType, e)
		if err != nil {
			return l, fmt.Errorf("exception %d: %w", i+1, err)
		}
		l.filters = append(l.filters, s)
	}
	if inner, _ := o.detection["exceptions"].([]any); o.record != nil && len(inner) > 0 {
		l.notes = append(l.notes, "exceptions within detection_logic had no effect; here they have")
	}
	return l, nil
}

// convertCondition converts a condition or an exception, and records its note.
func (l *convertedConditions) convertCondition(entityType string, v any) (selection, error) {
	c, err := parseCondition(v)
	if err != nil {
		return nil, err
	}
	s, note, err := c.toSelection(entityType)
	if note != "" {
		l.notes = append(l.notes, note)
	}
	return s, err
}

// fileOperationCategory returns the category that a condition on the file operation selects,
// or "" for both.
func fileOperationCategory(v any) string {
	c, err := parseCondition(v)
	if err != nil || c.field != "file.operation" || c.operator != "equals" || !c.caseSensitive {
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

// document returns the Sigma rule for a category.
func (l convertedConditions) document(o legacyRule, h metadata, category string, isSecond bool) *yaml.Node {
	detection := mappingNode()
	condition := "selection"
	if l.anyOf && len(l.conditions) > 1 {
		alternatives := &yaml.Node{Kind: yaml.SequenceNode}
		for _, s := range l.conditions {
			alternatives.Content = append(alternatives.Content, s.yamlNode())
		}
		detection.Content = append(detection.Content, textNode("selection"), alternatives)
	} else {
		groups := mergeDisjointSelections(l.conditions)
		for i, s := range groups {
			name := "selection"
			if len(groups) > 1 {
				name += "_" + strconv.Itoa(i+1)
				condition = "all of selection_*"
			}
			detection.Content = append(detection.Content, textNode(name), s.yamlNode())
		}
	}
	for i, s := range l.filters {
		detection.Content = append(detection.Content, textNode("filter_"+strconv.Itoa(i+1)), s.yamlNode())
	}
	if len(l.filters) > 0 {
		condition += " and not 1 of filter_*"
	}
	detection.Content = append(detection.Content, textNode("condition"), textNode(condition))
	before, after := h.sigmaEntries(o, category, isSecond)
	doc := mappingNode(before...)
	doc.Content = append(doc.Content, textNode("logsource"), mappingNode(textNode("category"), textNode(category)), textNode("detection"), detection)
	doc.Content = append(doc.Content, after...)
	return doc
}

// mergeDisjointSelections merges selections that must all match into as few as possible. A
// key can be in a selection only once.
func mergeDisjointSelections(all []selection) []selection {
	var groups []selection
next:
	for _, s := range all {
		for i, g := range groups {
			if !g.sharesKey(s) {
				groups[i] = append(g[:len(g):len(g)], s...)
				continue next
			}
		}
		groups = append(groups, s)
	}
	return groups
}
