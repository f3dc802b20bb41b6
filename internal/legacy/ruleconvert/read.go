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

// An old is a rule of the replaced system as read: its record, or the logic
// alone.
type old struct {
	id     string
	place  string         // what errors call it: the id, or where it stands if it has none
	record map[string]any // nil where there is the logic alone
	rule   map[string]any // entity_type, conditions, logic
}

// all is what is known of the rule.
func (o old) all() map[string]any {
	if o.record != nil {
		return o.record
	}
	return o.rule
}

// read finds the rules in JSON of any of the forms that dumps have.
func read(data []byte) (olds []old, errs []*Error) {
	dec := json.NewDecoder(bytes.NewReader(decodeText(data)))
	dec.UseNumber() // a number keeps its digits
	for n := 1; ; n++ {
		var v any
		err := dec.Decode(&v)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return olds, append(errs, &Error{"", fmt.Sprintf("read JSON, after %d values and %d bytes: %v", n-1, dec.InputOffset(), err)})
		}
		o, e := find(plain(v), fmt.Sprintf("value %d", n))
		olds, errs = append(olds, o...), append(errs, e...)
	}
	if olds == nil && errs == nil {
		errs = append(errs, &Error{"", "there are no rules in it"})
	}
	return olds, errs
}

// find finds the rules in a value; place says where it stands.
func find(v any, place string) (olds []old, errs []*Error) {
	switch v := v.(type) {
	case []any:
		for i, e := range v {
			o, es := find(e, fmt.Sprintf("%s[%d]", place, i))
			olds, errs = append(olds, o...), append(errs, es...)
		}
		return olds, errs
	case map[string]any:
		if fields, ok := v["fields"].(map[string]any); ok && v["model"] != nil { // a dump of Django's
			if model, _ := v["model"].(string); !strings.Contains(strings.ToLower(model), "rule") {
				return nil, nil // of something else
			}
			if _, ok := fields["_id"]; !ok {
				fields["_id"] = v["pk"]
			}
			return find(fields, place)
		}
		for _, list := range []string{"rules", "results"} {
			if all, ok := v[list].([]any); ok && v["conditions"] == nil && v["detection_logic"] == nil {
				return find(all, place+"."+list)
			}
		}
		return one(v, place)
	}
	return nil, []*Error{{place, "a rule is a JSON object"}}
}

// one reads the object of one rule.
func one(v map[string]any, place string) ([]old, []*Error) {
	o := old{rule: v}
	if v["detection_logic"] == nil && v["conditions"] == nil {
		return nil, []*Error{{place, "it has neither detection_logic nor conditions, so it is no rule"}}
	}
	if logic, ok := v["detection_logic"]; ok {
		o.record = v
		if text, isText := logic.(string); isText { // JSON within JSON
			dec := json.NewDecoder(strings.NewReader(text))
			dec.UseNumber()
			var inner any
			if dec.Decode(&inner) == nil {
				logic = plain(inner)
			}
		}
		if o.rule, ok = logic.(map[string]any); !ok {
			return nil, []*Error{{cmp.Or(textOf(v["rule_id"]), place), "detection_logic is no JSON object"}}
		}
	}
	for _, key := range []string{"rule_id", "id", "_id", "name"} {
		if o.id == "" {
			o.id = strings.TrimSpace(textOf(v[key]))
		}
	}
	o.place = o.id
	if o.id == "" {
		o.id, o.place = contentID(v), place
	}
	return []old{o}, nil
}

// contentID makes an id for a rule without one, that stays while the rule does.
func contentID(v map[string]any) string {
	data, _ := json.Marshal(v) // what was read can be written
	h := sha256.Sum256(data)
	return "rule-" + hex.EncodeToString(h[:6])
}

// textOf is a text or a number as text, "" for all else.
func textOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

// plain takes MongoDB's wrappers off, as of {"$numberInt": "5"}.
func plain(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for key, inner := range v {
			v[key] = plain(inner)
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

// decodeText returns UTF-8 of what may be UTF-16, which Windows' shells write.
func decodeText(data []byte) []byte {
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
