package pipeline_test

import (
	"fmt"
	"strings"

	"github.com/picket-edr/picket/sigma/ast"
)

// describe writes down what pipelines can change of a collection.
func describe(c ast.Collection) string {
	var b strings.Builder
	for _, r := range c.Rules {
		fmt.Fprintf(&b, "logsource %s\n", r.LogSource)
		if r.Fields != nil {
			fmt.Fprintf(&b, "fields %s\n", strings.Join(r.Fields, " "))
		}
		for _, d := range r.Detections.Searches {
			fmt.Fprintf(&b, "%s = %s\n", d.Name, describeAny(d.Alternatives))
		}
		for _, cond := range r.Detections.Conditions {
			fmt.Fprintf(&b, "condition %s\n", describeCondition(&cond, r.Detections.Searches))
		}
	}
	for _, corr := range c.Correlations {
		fmt.Fprintf(&b, "by %v aliases %v of %v\n", corr.GroupBy, corr.Aliases, corr.ValueFields)
	}
	return b.String()
}

func describeAny(any []ast.Conjunction) string {
	var alts []string
	for _, all := range any {
		var items []string
		for _, it := range all {
			items = append(items, describeItem(&it))
		}
		alts = append(alts, strings.Join(items, " & "))
	}
	return strings.Join(alts, " / ")
}

func describeItem(it *ast.DetectionItem) string {
	if it.Nested != nil {
		return "(" + describeAny(it.Nested) + ")"
	}
	name := strings.Join(append([]string{it.Field}, it.Modifiers...), "|")
	var values []string
	for _, v := range it.Values {
		switch v.Kind {
		case ast.Null:
			values = append(values, "null")
		case ast.Number:
			values = append(values, "#"+v.Text)
		default:
			values = append(values, v.Text)
		}
	}
	return name + ": " + strings.Join(values, ", ")
}

func describeCondition(c *ast.Condition, searches []ast.Search) string {
	var kids []string
	for i := range c.Operands {
		kids = append(kids, describeCondition(&c.Operands[i], searches))
	}
	switch c.Op {
	case ast.Ref:
		return searches[c.Index].Name
	case ast.Not:
		return "not " + kids[0]
	case ast.And:
		return "(" + strings.Join(kids, " and ") + ")"
	}
	return "(" + strings.Join(kids, " or ") + ")"
}
