package pipeline

import (
	"slices"
	"strconv"
	"strings"

	"github.com/picket-edr/picket/sigma/ast"
)

// readStateCondition reads processing_state, which compares a variable of
// set_state.
func readStateCondition(r *mapReader) ruleCondition {
	key := r.text("key", true)
	val, _ := r.scalar("val")
	op := r.oneOf("op", "eq", "ne", "gte", "gt", "lte", "lt")
	return func(st *applyState) bool {
		have, ok := st.state[key]
		return ok && compareScalars(have, op, val)
	}
}

// compareScalars compares numbers as numbers and everything else as text.
func compareScalars(a ast.Scalar, op string, b ast.Scalar) bool {
	order := strings.Compare(a.Text, b.Text)
	if x, err := strconv.ParseFloat(a.Text, 64); err == nil {
		if y, err := strconv.ParseFloat(b.Text, 64); err == nil {
			order = 0
			if x < y {
				order = -1
			} else if x > y {
				order = 1
			}
		}
	}
	return satisfiesOrder(order, op)
}

// satisfiesOrder reports whether a comparison with the result order, as of
// strings.Compare, satisfies op.
func satisfiesOrder(order int, op string) bool {
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

// statusesLeastReliableFirst are in the order of pySigma, the least reliable first.
var statusesLeastReliableFirst = []string{"unsupported", "deprecated", "experimental", "test", "stable"}

// readAttributeCondition reads rule_attribute.
func readAttributeCondition(r *mapReader) ruleCondition {
	name, value := r.text("attribute", true), readValueParameter(r)
	op := r.oneOf("op", "eq", "ne", "gte", "gt", "lte", "lt", "in", "not_in")
	return func(st *applyState) bool {
		m := st.meta
		switch name {
		case "references", "tags", "fields", "falsepositives":
			list := map[string][]string{"references": m.References, "tags": m.Tags, "fields": m.Fields, "falsepositives": m.FalsePositives}[name]
			has := slices.Contains(list, value.Text)
			return op == "in" && has || op == "not_in" && !has || op == "ne"
		case "level":
			level, err := ast.ParseLevel(value.Text)
			return err == nil && m.Level != ast.NoLevel && satisfiesOrder(int(m.Level)-int(level), op)
		case "status":
			have, want := slices.Index(statusesLeastReliableFirst, m.Status), slices.Index(statusesLeastReliableFirst, value.Text)
			return have >= 0 && want >= 0 && satisfiesOrder(have-want, op)
		}
		texts := map[string]string{"id": m.ID, "name": m.Name, "title": m.Title, "description": m.Description, "author": m.Author, "date": m.Date, "modified": m.Modified, "license": m.License}
		have, ok := ast.Scalar{Kind: ast.String, Text: texts[name]}, texts[name] != ""
		if _, known := texts[name]; !known {
			have, ok = st.attributes[name]
		}
		if !ok {
			return false
		}
		isDate := name == "date" || name == "modified"
		switch {
		case op == "in" || op == "not_in", have.Kind == ast.String && !isDate && op != "eq" && op != "ne":
			return false
		case have.Kind == ast.String:
			return satisfiesOrder(strings.Compare(have.Text, value.Text), op)
		}
		return compareScalars(have, op, value)
	}
}
