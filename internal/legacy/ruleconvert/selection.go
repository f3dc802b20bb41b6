package ruleconvert

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// A selection is detection items that must all match.
type selection []detectionItem

// A detectionItem is a field with its modifiers, as in "Image|endswith", and its
// values.
type detectionItem struct {
	key    string
	values []*yaml.Node
}

func (s selection) sharesKey(t selection) bool {
	for _, a := range s {
		for _, b := range t {
			if a.key == b.key {
				return true
			}
		}
	}
	return false
}

func (s selection) yamlNode() *yaml.Node {
	m := mappingNode()
	for _, it := range s {
		v := it.values[0]
		if len(it.values) > 1 {
			v = &yaml.Node{Kind: yaml.SequenceNode, Content: it.values}
		}
		m.Content = append(m.Content, textNode(it.key), v)
	}
	return m
}

func mappingNode(content ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Content: content}
}

// textNode returns a string node, quoted if necessary.
func textNode(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	if strings.ContainsAny(s, "\n\r\u0085\u2028\u2029\t") {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// quotedNode returns a quoted string node.
func quotedNode(s string) *yaml.Node {
	n := textNode(s)
	if n.Style == 0 {
		n.Style = yaml.SingleQuotedStyle
	}
	return n
}

func sequenceNode(all []string, node func(string) *yaml.Node) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for _, s := range all {
		n.Content = append(n.Content, node(s))
	}
	return n
}
