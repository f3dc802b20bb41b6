package sigma

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// A pair is an entry of a YAML mapping.
type pair struct {
	name       string
	key, value *yaml.Node
}

// mapping returns the entries of a mapping in order, and refuses duplicates.
func (p *parser) mapping(node *yaml.Node, what string) ([]pair, *lineError) {
	node, err := p.resolve(node)
	if err != nil {
		return nil, err
	}
	if node.Kind != yaml.MappingNode {
		return nil, at(node, "%s must be a mapping", what)
	}
	pairs := make([]pair, 0, len(node.Content)/2)
	seen := make(map[string]bool, len(node.Content)/2)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, err := p.resolve(node.Content[i])
		if err != nil {
			return nil, err
		}
		value, err := p.resolve(node.Content[i+1])
		if err != nil {
			return nil, err
		}
		switch {
		case key.Kind != yaml.ScalarNode:
			return nil, at(key, "a key must be a text")
		case key.ShortTag() == "!!merge":
			return nil, at(key, "merge keys are not supported").withHint("write the entries out")
		case seen[key.Value]:
			return nil, at(key, "duplicate key %q", key.Value).withHint("put the values into one list")
		}
		seen[key.Value] = true
		pairs = append(pairs, pair{name: key.Value, key: key, value: value})
	}
	return pairs, nil
}

// resolve follows aliases.
func (p *parser) resolve(node *yaml.Node) (*yaml.Node, *lineError) {
	if p.nodes++; p.nodes > maxNodes {
		return nil, at(node, "the document is too large")
	}
	for range 8 {
		if node.Kind != yaml.AliasNode {
			return node, nil
		}
		node = node.Alias
	}
	return nil, at(node, "the alias is nested too deeply")
}

func at(node *yaml.Node, format string, args ...any) *lineError {
	return errorAt(placeOf(node), format, args...)
}

// text returns a scalar as a text, null as "".
func text(node *yaml.Node) string {
	if isNull(node) {
		return ""
	}
	return node.Value
}

// A scalar is a value as a rule writes it.
type scalar struct {
	kind Kind
	text string
	place
}

// newScalar reads a YAML scalar by YAML 1.2's core schema cut down to JSON's
// literals: yes, on, 010, 0x10, 12:30, 1_000, dates, .nan and .inf are strings.
func newScalar(node *yaml.Node) scalar {
	s := scalar{kind: String, text: node.Value, place: placeOf(node)}
	const quoted = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	if node.Style&quoted != 0 || node.Style&yaml.TaggedStyle != 0 && node.ShortTag() == "!!str" {
		return s
	}
	switch node.Value {
	case "", "~", "null", "Null", "NULL":
		s.kind, s.text = Null, ""
	case "true", "True", "TRUE":
		s.kind, s.text = Bool, "true"
	case "false", "False", "FALSE":
		s.kind, s.text = Bool, "false"
	default:
		if _, ok := parseDecimal(strings.TrimPrefix(s.text, "+")); ok {
			s.kind, s.text = Number, strings.TrimPrefix(s.text, "+")
		}
	}
	return s
}

func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && newScalar(node).kind == Null
}
