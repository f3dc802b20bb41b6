package sigma

import (
	"slices"
	"strings"
)

// A transformation changes the document of a run. The processing item that it
// belongs to has the conditions.
type transformation struct {
	transform func(r *pipelineRun, p *processingItem) *lineError
}

// transformations are all that pipelines can name, by their type. It is a
// function because nest leads back to it.
func transformations() map[string]func(s *spec, file string) transformation {
	return map[string]func(s *spec, file string) transformation{
		"field_name_mapping":            readMapping,
		"field_name_prefix_mapping":     readPrefixMapping,
		"field_name_prefix":             readPrefix,
		"field_name_suffix":             readSuffix,
		"field_name_transform":          readFieldFunction,
		"drop_detection_item":           readDrop,
		"hashes_fields":                 readHashes,
		"extract_fields":                readExtract,
		"wildcard_placeholders":         readWildcardPlaceholders,
		"value_placeholders":            readValuePlaceholders,
		"query_expression_placeholders": unsupported("a query expression is nothing that events can be compared with"),
		"file_placeholders":             unsupported("a pipeline reads no other files"),
		"http_placeholders":             unsupported("a pipeline asks no other server"),
		"command_placeholders":          unsupported("a pipeline runs no commands"),
		"add_condition":                 readAddCondition,
		"change_logsource":              readChangeLogsource,
		"add_field":                     readAddField,
		"remove_field":                  readRemoveField,
		"set_field":                     readSetField,
		"replace_string":                readReplace,
		"map_string":                    readMapString,
		"regex":                         readRegex,
		"set_value":                     readSetValue,
		"convert_type":                  readConvert,
		"case":                          readCase,
		"set_state":                     readSetState,
		"set_custom_attribute":          readSetAttribute,
		"nest":                          readNest,
		"rule_failure":                  readRuleFailure,
		"detection_item_failure":        readItemFailure,
		"strict_field_mapping_failure":  readStrict,
	}
}

// unsupported is a transformation of placeholders that can't be had here.
func unsupported(why string) func(s *spec, file string) transformation {
	return func(s *spec, _ string) transformation {
		if s.err == nil {
			s.note(at(s.byKey["type"].value, "%s is not supported: %s", s.what, why).withHint("write value_placeholders, with the values in vars"))
		}
		return transformation{}
	}
}

// onRule is a transformation of the document as a whole.
func onRule(f func(r *pipelineRun)) transformation {
	return transformation{func(r *pipelineRun, _ *processingItem) *lineError {
		f(r)
		return nil
	}}
}

// onItems is a transformation of the items that the conditions let through: f
// returns what takes their place, or false to leave them.
func onItems(f func(r *pipelineRun, it item) ([]item, bool, *lineError)) transformation {
	return transformation{func(r *pipelineRun, p *processingItem) *lineError {
		if r.search == nil {
			return nil
		}
		return r.search.eachItem(func(it item) ([]item, *lineError) {
			if !p.matches(r, &it) {
				return []item{it}, nil
			}
			out, changed, err := f(r, it)
			if err != nil || !changed {
				return []item{it}, err
			}
			for i := range out {
				p.mark(&out[i])
				for _, all := range out[i].nested {
					for k := range all {
						p.mark(&all[k])
					}
				}
			}
			return out, nil
		})
	}}
}

func readDrop(*spec, string) transformation {
	return onItems(func(*pipelineRun, item) ([]item, bool, *lineError) { return nil, true, nil })
}

func readAddField(s *spec, _ string) transformation {
	fields := s.list("field")
	return onRule(func(r *pipelineRun) { r.meta.Fields = slices.Concat(r.meta.Fields, fields) })
}

func readRemoveField(s *spec, _ string) transformation {
	fields := s.list("field")
	return onRule(func(r *pipelineRun) {
		r.meta.Fields = slices.DeleteFunc(slices.Clone(r.meta.Fields), func(f string) bool { return slices.Contains(fields, f) })
	})
}

func readSetField(s *spec, _ string) transformation {
	fields := s.list("fields")
	return onRule(func(r *pipelineRun) { r.meta.Fields = fields })
}

func readChangeLogsource(s *spec, _ string) transformation {
	l := LogSource{Product: s.text("product", false), Category: s.text("category", false), Service: s.text("service", false)}
	return onRule(func(r *pipelineRun) {
		if r.source != nil {
			*r.source = l
		}
	})
}

func readSetState(s *spec, _ string) transformation {
	key := s.text("key", true)
	val, _ := s.value("val")
	return onRule(func(r *pipelineRun) { r.state[key] = val })
}

func readSetAttribute(s *spec, _ string) transformation {
	name := s.text("attribute", true)
	var val scalar
	if kv, ok := s.take("value"); ok {
		val = newScalar(kv.value) // of lists and mappings, nothing that could be asked for
	}
	return onRule(func(r *pipelineRun) { r.custom[name] = val })
}

func readNest(s *spec, file string) transformation {
	var items []*processingItem
	if s.depth++; s.depth > maxNesting {
		s.fail(placeOf(s.node), "nest is nested too deeply")
		return transformation{}
	}
	for _, n := range s.nodes("items") {
		items = append(items, readItem(s, file, n))
	}
	s.depth--
	return transformation{func(r *pipelineRun, _ *processingItem) *lineError { return r.apply(items) }}
}

func readRuleFailure(s *spec, _ string) transformation {
	message := s.text("message", true)
	return transformation{func(*pipelineRun, *processingItem) *lineError { return errorAt(place{}, "%s", message) }}
}

func readItemFailure(s *spec, _ string) transformation {
	message := s.text("message", true)
	return onItems(func(*pipelineRun, item) ([]item, bool, *lineError) {
		return nil, false, errorAt(place{}, "%s", message)
	})
}

func readStrict(*spec, string) transformation {
	return transformation{func(r *pipelineRun, _ *processingItem) *lineError {
		var missing []string
		r.hasItem(func(it *item) bool {
			if f := it.field; !it.keyword && !r.mapped[f] && !slices.Contains(missing, f) {
				missing = append(missing, f)
			}
			return false
		})
		if missing != nil {
			return errorAt(place{}, "fields that no transformation maps: %s", strings.Join(missing, ", "))
		}
		return nil
	}}
}
