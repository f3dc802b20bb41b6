package sigma

import (
	"fmt"
	"strings"
)

// Describe writes down what pipelines can change of a pack.
func Describe(pack Pack) string {
	var b strings.Builder
	for _, r := range pack.Rules {
		fmt.Fprintf(&b, "logsource %s\n", r.LogSource)
		if r.Fields != nil {
			fmt.Fprintf(&b, "fields %s\n", strings.Join(r.Fields, " "))
		}
		for _, d := range r.detections {
			fmt.Fprintf(&b, "%s = %s\n", d.name, describeAny(d.alternatives))
		}
		for _, c := range r.conditions {
			fmt.Fprintf(&b, "condition %s\n", c.describe(r.detections))
		}
	}
	for _, c := range pack.Correlations {
		fmt.Fprintf(&b, "by %v aliases %v of %v\n", c.GroupBy, c.Aliases, c.fields)
	}
	return b.String()
}

func describeAny(any []allOf) string {
	var alts []string
	for _, all := range any {
		var items []string
		for _, it := range all {
			items = append(items, it.describe())
		}
		alts = append(alts, strings.Join(items, " & "))
	}
	return strings.Join(alts, " / ")
}

func (it *item) describe() string {
	if it.nested != nil {
		return "(" + describeAny(it.nested) + ")"
	}
	name := strings.Join(append([]string{it.field}, it.modifiers...), "|")
	var values []string
	for _, v := range it.values {
		switch v.kind {
		case Null:
			values = append(values, "null")
		case Number:
			values = append(values, "#"+v.text)
		default:
			values = append(values, v.text)
		}
	}
	return name + ": " + strings.Join(values, ", ")
}

func (c *condition) describe(ds []detection) string {
	var kids []string
	for i := range c.kids {
		kids = append(kids, c.kids[i].describe(ds))
	}
	switch c.op {
	case condIs:
		return ds[c.detection].name
	case condNot:
		return "not " + kids[0]
	case condAnd:
		return "(" + strings.Join(kids, " and ") + ")"
	}
	return "(" + strings.Join(kids, " or ") + ")"
}
