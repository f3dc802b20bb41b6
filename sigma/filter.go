package sigma

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A Filter narrows rules down without changing their files: a rule that it
// applies to fires only where the filter's condition holds too. It applies to
// the rules it names whose logsource is within its own, and never to
// correlations.
//
// See the Sigma Filters Specification.
type Filter struct {
	Meta
	LogSource LogSource

	// Rules are the ids or names of the rules that it applies to; nil means
	// any.
	Rules []string

	search
	place place // of Rules
}

// Applies reports whether the filter narrows r down.
func (f *Filter) Applies(r *Rule) bool {
	return f.LogSource.Covers(r.LogSource) && (f.Rules == nil || slices.ContainsFunc(f.Rules, r.isNamed))
}

// isNamed reports whether ref is the document's id or name.
func (m *Meta) isNamed(ref string) bool {
	return ref != "" && (strings.EqualFold(m.ID, ref) || m.Name == ref)
}

// filter reads the filter block: the rules, then searches as in a detection.
func (p *parser) filter(node *yaml.Node) (*Filter, *lineError) {
	pairs, err := p.mapping(node, "filter")
	if err != nil {
		return nil, err
	}
	f := &Filter{LogSource: p.source}
	named := false
	var rest []pair
	for _, kv := range pairs {
		if kv.name != "rules" {
			rest = append(rest, kv)
			continue
		}
		named, f.place = true, placeOf(kv.key)
		if f.Rules, err = p.texts(kv.value, "rules"); err != nil {
			return nil, err
		}
	}
	if !named {
		return nil, at(node, "the filter does not say which rules it is for").withHint("add rules: a list of ids or names, or any")
	}
	if len(f.Rules) == 0 || len(f.Rules) == 1 && strings.EqualFold(f.Rules[0], "any") {
		f.Rules = nil
	}
	if err := p.block(node, rest); err != nil {
		return nil, err
	}
	if len(p.search.conditions) > 1 {
		return nil, at(node, "a filter has one condition")
	}
	f.Meta, f.search = p.meta, p.search
	return f, nil
}
