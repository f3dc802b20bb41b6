package pipeline

import (
	"slices"
	"strings"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/parser"
	"github.com/picket-edr/picket/sigma/internal/yamldoc"
)

// A transformFunc changes a document. Its processing item has the conditions.
type transformFunc struct {
	transform func(st *applyState, p *processingItem) *ast.Diagnostic
}

// transformations returns how each type of transformation is read. It is a
// function, and not a variable, because nest refers back to it.
func transformations() map[string]func(r *mapReader, file string) transformFunc {
	return map[string]func(r *mapReader, file string) transformFunc{
		"field_name_mapping":            readFieldMapping,
		"field_name_prefix_mapping":     readFieldPrefixMapping,
		"field_name_prefix":             readFieldPrefix,
		"field_name_suffix":             readFieldSuffix,
		"field_name_transform":          readFieldTransform,
		"drop_detection_item":           readDropDetectionItem,
		"hashes_fields":                 readHashesFields,
		"extract_fields":                readExtractFields,
		"wildcard_placeholders":         readWildcardPlaceholders,
		"value_placeholders":            readValuePlaceholders,
		"query_expression_placeholders": unsupported("events cannot be compared with a query expression"),
		"file_placeholders":             unsupported("a pipeline reads no other files"),
		"http_placeholders":             unsupported("a pipeline contacts no servers"),
		"command_placeholders":          unsupported("a pipeline runs no commands"),
		"add_condition":                 readAddCondition,
		"change_logsource":              readChangeLogsource,
		"add_field":                     readAddField,
		"remove_field":                  readRemoveField,
		"set_field":                     readSetField,
		"replace_string":                readReplaceString,
		"map_string":                    readMapString,
		"regex":                         readRegex,
		"set_value":                     readSetValue,
		"convert_type":                  readConvertType,
		"case":                          readCase,
		"set_state":                     readSetState,
		"set_custom_attribute":          readSetCustomAttribute,
		"nest":                          readNest,
		"rule_failure":                  readRuleFailure,
		"detection_item_failure":        readDetectionItemFailure,
		"strict_field_mapping_failure":  readStrictFieldMappingFailure,
	}
}

// unsupported reads a transformation of placeholders that cannot be supported.
func unsupported(why string) func(r *mapReader, file string) transformFunc {
	return func(r *mapReader, _ string) transformFunc {
		if r.err == nil {
			r.recordError(yamldoc.ErrorAt(r.byKey["type"].Value, "%s is not supported: %s", r.what, why).WithHint("write value_placeholders, with the values in vars"))
		}
		return transformFunc{}
	}
}

// onDocument returns a transformation of the document as a whole.
func onDocument(f func(st *applyState)) transformFunc {
	return transformFunc{func(st *applyState, _ *processingItem) *ast.Diagnostic {
		f(st)
		return nil
	}}
}

// onItems returns a transformation of the items for which the conditions hold:
// f returns what replaces an item, or false to leave it as it is.
func onItems(f func(st *applyState, it ast.DetectionItem) ([]ast.DetectionItem, bool, *ast.Diagnostic)) transformFunc {
	return transformFunc{func(st *applyState, p *processingItem) *ast.Diagnostic {
		if st.detections == nil {
			return nil
		}
		return replaceItems(st.detections, func(it ast.DetectionItem) ([]ast.DetectionItem, *ast.Diagnostic) {
			if !p.matches(st, &it) {
				return []ast.DetectionItem{it}, nil
			}
			out, changed, err := f(st, it)
			if err != nil || !changed {
				return []ast.DetectionItem{it}, err
			}
			for i := range out {
				p.markApplied(&out[i])
				for _, nested := range out[i].Nested {
					for k := range nested {
						p.markApplied(&nested[k])
					}
				}
			}
			return out, nil
		})
	}}
}

func readDropDetectionItem(*mapReader, string) transformFunc {
	return onItems(func(*applyState, ast.DetectionItem) ([]ast.DetectionItem, bool, *ast.Diagnostic) {
		return nil, true, nil
	})
}

func readAddField(r *mapReader, _ string) transformFunc {
	fields := r.strings("field")
	return onDocument(func(st *applyState) { st.meta.Fields = slices.Concat(st.meta.Fields, fields) })
}

// readRemoveField reads remove_field, which removes names from the rule's list of
// fields. Detections are unchanged.
func readRemoveField(r *mapReader, _ string) transformFunc {
	fields := r.strings("field")
	return onDocument(func(st *applyState) {
		st.meta.Fields = slices.DeleteFunc(slices.Clone(st.meta.Fields), func(f string) bool { return slices.Contains(fields, f) })
	})
}

func readSetField(r *mapReader, _ string) transformFunc {
	fields := r.strings("fields")
	return onDocument(func(st *applyState) { st.meta.Fields = fields })
}

func readChangeLogsource(r *mapReader, _ string) transformFunc {
	l := readLogSource(r)
	return onDocument(func(st *applyState) {
		if st.source != nil {
			*st.source = l
		}
	})
}

func readSetState(r *mapReader, _ string) transformFunc {
	key := r.text("key", true)
	val, _ := r.scalar("val")
	return onDocument(func(st *applyState) { st.state[key] = val })
}

func readSetCustomAttribute(r *mapReader, _ string) transformFunc {
	name := r.text("attribute", true)
	var val ast.Scalar
	if kv, ok := r.take("value"); ok {
		val = yamldoc.NewScalar(kv.Value) // a list or mapping satisfies no condition
	}
	return onDocument(func(st *applyState) { st.attributes[name] = val })
}

func readNest(r *mapReader, file string) transformFunc {
	var items []*processingItem
	if r.depth++; r.depth > parser.MaxNesting {
		r.fail(yamldoc.PositionOf(r.node), "transformations are nested too deeply")
		return transformFunc{}
	}
	for _, n := range r.sequence("items") {
		items = append(items, readItem(r, file, n))
	}
	r.depth--
	return transformFunc{func(st *applyState, _ *processingItem) *ast.Diagnostic { return st.applyItems(items) }}
}

func readRuleFailure(r *mapReader, _ string) transformFunc {
	message := r.text("message", true)
	return transformFunc{func(*applyState, *processingItem) *ast.Diagnostic { return ast.ErrorAt(ast.Position{}, "%s", message) }}
}

func readDetectionItemFailure(r *mapReader, _ string) transformFunc {
	message := r.text("message", true)
	return onItems(func(*applyState, ast.DetectionItem) ([]ast.DetectionItem, bool, *ast.Diagnostic) {
		return nil, false, ast.ErrorAt(ast.Position{}, "%s", message)
	})
}

func readStrictFieldMappingFailure(*mapReader, string) transformFunc {
	return transformFunc{func(st *applyState, _ *processingItem) *ast.Diagnostic {
		var missing []string
		st.hasItem(func(it *ast.DetectionItem) bool {
			if f := it.Field; !it.Keyword && !st.mapped[f] && !slices.Contains(missing, f) {
				missing = append(missing, f)
			}
			return false
		})
		if missing != nil {
			return ast.ErrorAt(ast.Position{}, "no transformation maps these fields: %s", strings.Join(missing, ", "))
		}
		return nil
	}}
}
