package parser

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/suggest"
	"github.com/picket-edr/picket/sigma/internal/yamldoc"
)

// detection reads the detection block of a rule.
func (p *parser) detection(node *yaml.Node) *ast.Diagnostic {
	pairs, err := p.Mapping(node, "detection")
	if err != nil {
		return err
	}
	return p.detectionBlock(node, pairs)
}

// detectionBlock reads the searches and then the conditions, which refer to
// them.
func (p *parser) detectionBlock(node *yaml.Node, pairs []yamldoc.Pair) *ast.Diagnostic {
	var err *ast.Diagnostic
	var cond *yaml.Node
	for _, kv := range pairs {
		switch kv.Name {
		case "condition":
			cond = kv.Value
			continue
		case "timeframe":
			p.warn("timeframe", yamldoc.PositionOf(kv.Key), "timeframe is not part of Sigma 2 and has no effect")
			continue
		}
		s := ast.Search{Name: kv.Name, Position: yamldoc.PositionOf(kv.Key)}
		if s.Alternatives, err = p.search(kv); err != nil {
			return err
		}
		p.detections.Searches = append(p.detections.Searches, s)
	}
	if len(p.detections.Searches) == 0 {
		return yamldoc.ErrorAt(node, "the detection has no search")
	}
	if cond == nil {
		return yamldoc.ErrorAt(node, "the detection has no condition")
	}
	return p.conditions(cond)
}

// conditions reads a condition or a list of them.
func (p *parser) conditions(node *yaml.Node) *ast.Diagnostic {
	list := []*yaml.Node{node}
	if node.Kind == yaml.SequenceNode {
		list = node.Content
	}
	names := p.detections.Names()
	for _, n := range list {
		n, err := p.ResolveAlias(n)
		if err != nil {
			return err
		}
		if n.Kind != yaml.ScalarNode || yamldoc.NewScalar(n).Kind == ast.Null {
			return yamldoc.ErrorAt(n, "a condition must be a string")
		}
		cond, err := p.singleCondition(n, names)
		if err != nil {
			return err
		}
		p.detections.Conditions = append(p.detections.Conditions, cond)
		p.detections.ConditionTexts = append(p.detections.ConditionTexts, ast.LocatedText{Text: n.Value, Position: yamldoc.PositionOf(n)})
	}
	if len(p.detections.Conditions) == 0 {
		return yamldoc.ErrorAt(node, "the detection has no condition")
	}
	return nil
}

// search reads the definition of a search: a mapping, a keyword, or a list of
// both.
func (p *parser) search(kv yamldoc.Pair) ([]ast.Conjunction, *ast.Diagnostic) {
	node := kv.Value
	if node.Kind != yaml.SequenceNode {
		all, err := p.conjunction(node)
		if err != nil {
			return nil, err
		}
		return []ast.Conjunction{all}, nil
	}
	if len(node.Content) == 0 {
		return nil, yamldoc.ErrorAt(kv.Key, "the search %q is empty", kv.Name)
	}
	var out []ast.Conjunction
	keywords := ast.DetectionItem{Keyword: true, Position: yamldoc.PositionOf(node)}
	for _, n := range node.Content {
		n, err := p.ResolveAlias(n)
		if err != nil {
			return nil, err
		}
		all, err := p.conjunction(n)
		if err != nil {
			return nil, err
		}
		if n.Kind == yaml.ScalarNode {
			keywords.Values = append(keywords.Values, all[0].Values...)
			continue
		}
		out = append(out, all)
	}
	if keywords.Values != nil {
		out = append(out, ast.Conjunction{keywords})
	}
	return out, nil
}

// ParseConjunction reads a mapping of a search, or a keyword.
func ParseConjunction(r *yamldoc.Reader, node *yaml.Node) (ast.Conjunction, *ast.Diagnostic) {
	p := &parser{Reader: *r}
	defer func() { *r = p.Reader }()
	return p.conjunction(node)
}

func (p *parser) conjunction(node *yaml.Node) (ast.Conjunction, *ast.Diagnostic) {
	switch node.Kind {
	case yaml.ScalarNode:
		s := yamldoc.NewScalar(node)
		if s.Kind == ast.Null {
			return nil, yamldoc.ErrorAt(node, "a keyword can't be null")
		}
		return ast.Conjunction{{Keyword: true, Values: []ast.Scalar{s}, Position: yamldoc.PositionOf(node)}}, nil
	case yaml.MappingNode:
	default:
		return nil, yamldoc.ErrorAt(node, "a search must be a mapping, a keyword or a list of these")
	}
	pairs, err := p.Mapping(node, "a search")
	if err != nil {
		return nil, err
	}
	if len(pairs) == 0 {
		return nil, yamldoc.ErrorAt(node, "the search is empty")
	}
	var all ast.Conjunction
	for _, kv := range pairs {
		it, err := p.detectionItem(kv)
		if err != nil {
			return nil, err
		}
		all = append(all, it)
	}
	return all, nil
}

// modifierNames are those of the Sigma Modifiers Appendix, long forms included.
var modifierNames = []string{
	"contains", "startswith", "endswith", "all", "cased", "exists", "neq", "expand", "fieldref", "cidr", "windash",
	"re", "i", "ignorecase", "m", "multiline", "s", "dotall",
	"base64", "base64offset", "wide", "utf16le", "utf16be", "utf16",
	"lt", "lte", "gt", "gte", "minute", "hour", "day", "week", "month", "year",
}

func (p *parser) detectionItem(kv yamldoc.Pair) (ast.DetectionItem, *ast.Diagnostic) {
	parts := strings.Split(kv.Name, "|")
	it := ast.DetectionItem{Field: parts[0], Keyword: parts[0] == "", Modifiers: parts[1:], Position: yamldoc.PositionOf(kv.Key)}
	for _, m := range it.Modifiers {
		if !slices.Contains(modifierNames, m) {
			return it, yamldoc.ErrorAt(kv.Key, "unknown modifier %q", m).WithHint(suggest.DidYouMean(m, modifierNames, ""))
		}
	}
	switch kv.Value.Kind {
	case yaml.ScalarNode:
		it.Values = []ast.Scalar{yamldoc.NewScalar(kv.Value)}
	case yaml.SequenceNode:
		for _, n := range kv.Value.Content {
			n, err := p.ResolveAlias(n)
			if err != nil {
				return it, err
			}
			if n.Kind != yaml.ScalarNode {
				return it, yamldoc.ErrorAt(n, "a value of %q must be a scalar", kv.Name)
			}
			it.Values = append(it.Values, yamldoc.NewScalar(n))
		}
		if len(it.Values) == 0 { // like pySigma: an empty list is null
			it.Values = []ast.Scalar{{Kind: ast.Null, Position: yamldoc.PositionOf(kv.Key)}}
		}
	default:
		return it, yamldoc.ErrorAt(kv.Value, "the value of %q must be a scalar or a list", kv.Name)
	}
	null := slices.ContainsFunc(it.Values, func(s ast.Scalar) bool { return s.Kind == ast.Null })
	if null && it.Keyword {
		return it, yamldoc.ErrorAt(kv.Key, "a keyword can't be null")
	}
	if null && len(it.Values) > 1 {
		p.warn("null_in_list", it.Position, "null in a list of values of %q", kv.Name)
	}
	if it.Has("all") && len(it.Values) == 1 {
		p.warn("single_value_all", it.Position, "the modifier all needs more than one value")
	}
	return it, nil
}
