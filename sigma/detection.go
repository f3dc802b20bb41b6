package sigma

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A detection is one named search of a rule's detection block. It holds if any
// of its alternatives does.
type detection struct {
	name string
	place
	alternatives []allOf
}

// allOf are items that must all hold.
type allOf []item

// An item is a field, or no field for keywords, with modifiers and values.
type item struct {
	field     string
	keyword   bool
	modifiers []string
	values    []scalar
	place
	// nested, which only pipelines make, is instead of all else: it holds if
	// any of these does.
	nested  []allOf
	applied []string // ids of transformations, while a pipeline is under way
}

// A search is the detection block of a rule, or that of a filter.
type search struct {
	detections []detection // in the order of the file
	conditions []condition // it holds if any does
	texts      []named     // of the conditions, for Lint
}

// detection reads the detection block: the named searches, then the conditions.
//
// See "Detection" in the Sigma Rules Specification.
func (p *parser) detection(node *yaml.Node) *lineError {
	pairs, err := p.mapping(node, "detection")
	if err != nil {
		return err
	}
	return p.block(node, pairs)
}

// block reads the entries of a detection block.
func (p *parser) block(node *yaml.Node, pairs []pair) *lineError {
	var err *lineError
	var cond *yaml.Node
	for _, kv := range pairs {
		switch kv.name {
		case "condition":
			cond = kv.value
			continue
		case "timeframe":
			p.warn("timeframe", placeOf(kv.key), "timeframe is not part of Sigma 2 and has no effect")
			continue
		}
		d := detection{name: kv.name, place: placeOf(kv.key)}
		if d.alternatives, err = p.named(kv); err != nil {
			return err
		}
		p.search.detections = append(p.search.detections, d)
	}
	if len(p.search.detections) == 0 {
		return at(node, "the detection has no search")
	}
	if cond == nil {
		return at(node, "the detection has no condition")
	}
	return p.conditions(cond)
}

// named reads one named search: a mapping, a keyword, or a list of both.
func (p *parser) named(kv pair) ([]allOf, *lineError) {
	node := kv.value
	if node.Kind != yaml.SequenceNode {
		all, err := p.alternative(node)
		if err != nil {
			return nil, err
		}
		return []allOf{all}, nil
	}
	if len(node.Content) == 0 {
		return nil, at(kv.key, "the search %q is empty", kv.name)
	}
	var out []allOf
	keywords := item{keyword: true, place: placeOf(node)}
	for _, n := range node.Content {
		n, err := p.resolve(n)
		if err != nil {
			return nil, err
		}
		all, err := p.alternative(n)
		if err != nil {
			return nil, err
		}
		if n.Kind == yaml.ScalarNode {
			keywords.values = append(keywords.values, all[0].values...)
			continue
		}
		out = append(out, all)
	}
	if keywords.values != nil {
		out = append(out, allOf{keywords})
	}
	return out, nil
}

func (p *parser) alternative(node *yaml.Node) (allOf, *lineError) {
	switch node.Kind {
	case yaml.ScalarNode:
		s := newScalar(node)
		if s.kind == Null {
			return nil, at(node, "a keyword can't be null")
		}
		return allOf{{keyword: true, values: []scalar{s}, place: placeOf(node)}}, nil
	case yaml.MappingNode:
	default:
		return nil, at(node, "a search must be a mapping, a keyword or a list of these")
	}
	pairs, err := p.mapping(node, "a search")
	if err != nil {
		return nil, err
	}
	if len(pairs) == 0 {
		return nil, at(node, "the search is empty")
	}
	var all allOf
	for _, kv := range pairs {
		it, err := p.item(kv)
		if err != nil {
			return nil, err
		}
		all = append(all, it)
	}
	return all, nil
}

func (p *parser) item(kv pair) (item, *lineError) {
	parts := strings.Split(kv.name, "|")
	it := item{field: parts[0], keyword: parts[0] == "", modifiers: parts[1:], place: placeOf(kv.key)}
	for _, m := range it.modifiers {
		if !isModifier(m) {
			return it, at(kv.key, "unknown modifier %q", m).withHint(didYouMean(m, modifiers, ""))
		}
	}
	switch kv.value.Kind {
	case yaml.ScalarNode:
		it.values = []scalar{newScalar(kv.value)}
	case yaml.SequenceNode:
		for _, n := range kv.value.Content {
			n, err := p.resolve(n)
			if err != nil {
				return it, err
			}
			if n.Kind != yaml.ScalarNode {
				return it, at(n, "a value of %q must be a scalar", kv.name)
			}
			it.values = append(it.values, newScalar(n))
		}
		if len(it.values) == 0 { // as pySigma: an empty list is null
			it.values = []scalar{{kind: Null, place: placeOf(kv.key)}}
		}
	default:
		return it, at(kv.value, "the value of %q must be a scalar or a list", kv.name)
	}
	null := slices.ContainsFunc(it.values, func(s scalar) bool { return s.kind == Null })
	if null && it.keyword {
		return it, at(kv.key, "a keyword can't be null")
	}
	if null && len(it.values) > 1 {
		p.warn("null_in_list", it.place, "null in a list of values of %q", kv.name)
	}
	if slices.Contains(it.modifiers, "all") && len(it.values) == 1 {
		p.warn("single_value_all", it.place, "the modifier all needs more than one value")
	}
	return it, nil
}
