package ruleconvert_test

import (
	"regexp"
	"strconv"
	"strings"
)

// This file is the legacy system's evaluation of rules, as simple as can be:
// what the converted rules are held against. An event and a rule are JSON as
// encoding/json reads it, with numbers as float64.

func oldFires(rule, event map[string]any) bool {
	logic, _ := rule["detection_logic"].(map[string]any)
	if logic["entity_type"] != event["event_type"] {
		return false
	}
	held := 0
	conditions := logic["conditions"].([]any)
	for _, c := range conditions {
		if oldHolds(c.(map[string]any), event) {
			held++
		}
	}
	if logic["logic"] == "OR" && held == 0 || logic["logic"] != "OR" && held < len(conditions) {
		return false
	}
	exceptions, _ := rule["exceptions"].([]any)
	for _, e := range exceptions {
		if oldHolds(e.(map[string]any), event) {
			return false
		}
	}
	return true
}

func oldHolds(c, event map[string]any) bool {
	var field any = event
	for part := range strings.SplitSeq(c["field"].(string), ".") {
		group, _ := field.(map[string]any)
		field = group[part]
	}
	if field == nil {
		return false
	}
	cased := true
	if v, ok := c["case_sensitive"]; ok {
		cased, _ = v.(bool)
	}
	fold := func(s string) string {
		if cased {
			return s
		}
		return strings.ToLower(s)
	}
	has := fold(oldText(field))
	value := fold(oldText(c["value"]))
	var values []string
	list, _ := c["values"].([]any)
	for _, v := range list {
		values = append(values, fold(oldText(v)))
	}
	count := 0 // of values that the field contains
	in := false
	for _, v := range values {
		if strings.Contains(has, v) {
			count++
		}
		in = in || has == v
	}
	switch c["operator"] {
	case "equals":
		return has == value
	case "not_equals":
		return has != value
	case "contains":
		return strings.Contains(has, value)
	case "not_contains":
		return !strings.Contains(has, value)
	case "contains_any":
		return count > 0
	case "contains_all":
		return count == len(values)
	case "starts_with":
		return strings.HasPrefix(has, value)
	case "ends_with":
		return strings.HasSuffix(has, value)
	case "regex":
		source := c["value"].(string)
		if !cased {
			source = "(?i)" + source
		}
		return regexp.MustCompile(source).MatchString(oldText(field))
	case "greater_than", "less_than":
		a, err1 := strconv.ParseFloat(strings.TrimSpace(oldText(field)), 64)
		b, err2 := strconv.ParseFloat(strings.TrimSpace(oldText(c["value"])), 64)
		return err1 == nil && err2 == nil && (c["operator"] == "less_than" && a < b || c["operator"] == "greater_than" && a > b)
	case "in_list":
		return in
	}
	return false
}

func oldText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}
