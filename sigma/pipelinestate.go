package sigma

import (
	"slices"
	"strconv"
	"strings"
)

// readState compares a value of the pipeline's state.
func readState(s *spec) ruleCondition {
	key := s.text("key", true)
	val, _ := s.value("val")
	op := s.one("op", "eq", "ne", "gte", "gt", "lte", "lt")
	return func(r *pipelineRun) bool {
		have, ok := r.state[key]
		return ok && have.compare(op, val)
	}
}

// compare compares numbers as such and all else as text.
func (s scalar) compare(op string, other scalar) bool {
	order := strings.Compare(s.text, other.text)
	if a, err := strconv.ParseFloat(s.text, 64); err == nil {
		if b, err := strconv.ParseFloat(other.text, 64); err == nil {
			order = 0
			if a < b {
				order = -1
			} else if a > b {
				order = 1
			}
		}
	}
	switch op {
	case "eq":
		return order == 0
	case "ne":
		return order != 0
	case "gte":
		return order >= 0
	case "gt":
		return order > 0
	case "lte":
		return order <= 0
	}
	return order < 0
}

// readAttribute is the condition rule_attribute.
func readAttribute(s *spec) ruleCondition {
	name, value := s.text("attribute", true), readValue(s)
	op := s.one("op", "eq", "ne", "gte", "gt", "lte", "lt", "in", "not_in")
	return func(r *pipelineRun) bool {
		m := r.meta
		switch name {
		case "references", "tags", "fields", "falsepositives":
			list := map[string][]string{"references": m.References, "tags": m.Tags, "fields": m.Fields, "falsepositives": m.FalsePositives}[name]
			has := slices.Contains(list, value.text)
			return op == "in" && has || op == "not_in" && !has || op == "ne"
		case "level":
			level, err := ParseLevel(value.text)
			return err == nil && m.Level != NoLevel && scalar{text: string('0' + rune(m.Level))}.compare(op, scalar{text: string('0' + rune(level))})
		case "status":
			have, want := slices.Index(statuses, m.Status), slices.Index(statuses, value.text)
			return have >= 0 && want >= 0 && scalar{text: string('0' + rune(have))}.compare(op, scalar{text: string('0' + rune(want))})
		}
		texts := map[string]string{"id": m.ID, "name": m.Name, "title": m.Title, "description": m.Description, "author": m.Author, "date": m.Date, "modified": m.Modified, "license": m.License}
		have, ok := scalar{kind: String, text: texts[name]}, texts[name] != ""
		if _, known := texts[name]; !known {
			have, ok = r.custom[name]
		}
		if !ok {
			return false
		}
		dated := name == "date" || name == "modified"
		switch {
		case op == "in" || op == "not_in", have.kind == String && !dated && op != "eq" && op != "ne":
			return false
		case have.kind == String:
			order := strings.Compare(have.text, value.text)
			return scalar{text: string('1' + rune(order))}.compare(op, scalar{text: "1"})
		}
		return have.compare(op, value)
	}
}

// statuses from the least to the most reliable, as pySigma orders them.
var statuses = []string{"unsupported", "deprecated", "experimental", "test", "stable"}
