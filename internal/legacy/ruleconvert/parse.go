package ruleconvert

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
)

// A legacyRule is a parsed legacy rule: a record that contains detection_logic, or
// detection_logic alone.
type legacyRule struct {
	id        string
	location  string         // for errors: the id, or the position in the input if there is none
	record    map[string]any // nil if there is only detection_logic
	detection map[string]any // detection_logic: entity_type, conditions, logic
}

// recordOrDetection returns the record, or detection_logic if there is none.
func (o legacyRule) recordOrDetection() map[string]any {
	if o.record != nil {
		return o.record
	}
	return o.detection
}

// parseRules parses the rules in JSON of any supported form.
func parseRules(data []byte) (rules []legacyRule, errs []*Error) {
	dec := json.NewDecoder(bytes.NewReader(decodeUTF16(data)))
	dec.UseNumber() // a number keeps its digits
	for n := 1; ; n++ {
		var v any
		err := dec.Decode(&v)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return rules, append(errs, &Error{"", fmt.Sprintf("read JSON, after %d values and %d bytes: %v", n-1, dec.InputOffset(), err)})
		}
		o, e := findRules(unwrapExtendedJSON(v), fmt.Sprintf("value %d", n))
		rules, errs = append(rules, o...), append(errs, e...)
	}
	if rules == nil && errs == nil {
		errs = append(errs, &Error{"", "there are no rules in it"})
	}
	return rules, errs
}

// findRules returns the rules in a value at a position of the input.
func findRules(v any, location string) (rules []legacyRule, errs []*Error) {
	switch v := v.(type) {
	case []any:
		for i, e := range v {
			o, es := findRules(e, fmt.Sprintf("%s[%d]", location, i))
			rules, errs = append(rules, o...), append(errs, es...)
		}
		return rules, errs
	case map[string]any:
		if fields, ok := v["fields"].(map[string]any); ok && v["model"] != nil { // a dump of Django
			if model, _ := v["model"].(string); !strings.Contains(strings.ToLower(model), "rule") {
				return nil, nil // not a rule
			}
			if _, ok := fields["_id"]; !ok {
				fields["_id"] = v["pk"]
			}
			return findRules(fields, location)
		}
		for _, list := range []string{"rules", "results"} {
			if all, ok := v[list].([]any); ok && v["conditions"] == nil && v["detection_logic"] == nil {
				return findRules(all, location+"."+list)
			}
		}
		return parseRule(v, location)
	}
	return nil, []*Error{{location, "a rule is a JSON object"}}
}

// parseRule reads a rule.
func parseRule(v map[string]any, location string) ([]legacyRule, []*Error) {
	o := legacyRule{detection: v}
	if v["detection_logic"] == nil && v["conditions"] == nil {
		return nil, []*Error{{location, "it has neither detection_logic nor conditions, so it is no rule"}}
	}
	if logic, ok := v["detection_logic"]; ok {
		o.record = v
		if text, isText := logic.(string); isText { // a JSON string that contains JSON
			dec := json.NewDecoder(strings.NewReader(text))
			dec.UseNumber()
			var inner any
			if dec.Decode(&inner) == nil {
				logic = unwrapExtendedJSON(inner)
			}
		}
		if o.detection, ok = logic.(map[string]any); !ok {
			return nil, []*Error{{cmp.Or(textOf(v["rule_id"]), location), "detection_logic is no JSON object"}}
		}
	}
	for _, key := range []string{"rule_id", "id", "_id", "name"} {
		if o.id == "" {
			o.id = strings.TrimSpace(textOf(v[key]))
		}
	}
	o.location = o.id
	if o.id == "" {
		o.id, o.location = contentRuleID(v), location
	}
	return []legacyRule{o}, nil
}

// contentRuleID returns an id for a rule without one, derived from its content.
func contentRuleID(v map[string]any) string {
	data, _ := json.Marshal(v) // what was unmarshaled can be marshaled
	h := sha256.Sum256(data)
	return "rule-" + hex.EncodeToString(h[:6])
}

// textOf returns a text or a number as text, and "" for other values.
func textOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

// unwrapExtendedJSON unwraps values of MongoDB's Extended JSON, such as
// {"$numberInt": "5"}.
func unwrapExtendedJSON(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = unwrapExtendedJSON(v[i])
		}
	case map[string]any:
		for key, inner := range v {
			v[key] = unwrapExtendedJSON(inner)
			if len(v) > 1 || !strings.HasPrefix(key, "$") {
				continue
			}
			if text, ok := v[key].(string); ok && strings.HasPrefix(key, "$number") {
				return json.Number(text)
			}
			return v[key]
		}
	}
	return v
}

// decodeUTF16 converts UTF-16, which Windows shells write, to UTF-8.
func decodeUTF16(data []byte) []byte {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(data, []byte("\xEF\xBB\xBF")):
		return data[3:]
	case bytes.HasPrefix(data, []byte("\xFF\xFE")):
		order = binary.LittleEndian
	case bytes.HasPrefix(data, []byte("\xFE\xFF")):
		order = binary.BigEndian
	default:
		return data
	}
	units := make([]uint16, 0, len(data)/2)
	for i := 2; i+1 < len(data); i += 2 {
		units = append(units, order.Uint16(data[i:]))
	}
	return []byte(string(utf16.Decode(units)))
}
