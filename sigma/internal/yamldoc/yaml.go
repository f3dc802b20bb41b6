// Package yamldoc reads YAML nodes as Sigma's files need them: with positions,
// without duplicate keys, and with scalars that are not YAML 1.1's.
package yamldoc

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/decimal"
)

// A Reader reads the nodes of one document. It bounds how many these are,
// counting an alias as often as it is used. The zero value is ready to use.
type Reader struct{ nodes int }

// maxNodes is how many nodes a document may have.
const maxNodes = 1 << 19

// A Pair is an entry of a mapping.
type Pair struct {
	Name       string
	Key, Value *yaml.Node
}

// Mapping returns the entries of a mapping in order; duplicate keys are an
// error. what names the mapping in errors.
func (r *Reader) Mapping(node *yaml.Node, what string) ([]Pair, *ast.Diagnostic) {
	node, err := r.ResolveAlias(node)
	if err != nil {
		return nil, err
	}
	if node.Kind != yaml.MappingNode {
		return nil, ErrorAt(node, "%s must be a mapping", what)
	}
	pairs := make([]Pair, 0, len(node.Content)/2)
	seen := make(map[string]bool, len(node.Content)/2)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, err := r.ResolveAlias(node.Content[i])
		if err != nil {
			return nil, err
		}
		value, err := r.ResolveAlias(node.Content[i+1])
		if err != nil {
			return nil, err
		}
		switch {
		case key.Kind != yaml.ScalarNode:
			return nil, ErrorAt(key, "a key must be a string")
		case key.ShortTag() == "!!merge":
			return nil, ErrorAt(key, "merge keys are not supported").WithHint("write the entries out")
		case seen[key.Value]:
			return nil, ErrorAt(key, "duplicate key %q", key.Value).WithHint("put the values into one list")
		}
		seen[key.Value] = true
		pairs = append(pairs, Pair{Name: key.Value, Key: key, Value: value})
	}
	return pairs, nil
}

// ResolveAlias follows aliases.
func (r *Reader) ResolveAlias(node *yaml.Node) (*yaml.Node, *ast.Diagnostic) {
	if r.nodes++; r.nodes > maxNodes {
		return nil, ErrorAt(node, "the document is too large")
	}
	for range 8 {
		if node.Kind != yaml.AliasNode {
			return node, nil
		}
		node = node.Alias
	}
	return nil, ErrorAt(node, "the alias is nested too deeply")
}

// Strings returns the elements of a list of scalars, or a single scalar as a
// list of one. name names the list in errors.
func (r *Reader) Strings(node *yaml.Node, name string) ([]string, *ast.Diagnostic) {
	node, err := r.ResolveAlias(node)
	if err != nil {
		return nil, err
	}
	switch {
	case IsNull(node):
		return nil, nil
	case node.Kind == yaml.ScalarNode:
		return []string{node.Value}, nil
	case node.Kind != yaml.SequenceNode:
		return nil, ErrorAt(node, "%s must be a list of strings", name)
	}
	var out []string
	for _, n := range node.Content {
		n, err := r.ResolveAlias(n)
		if err != nil {
			return nil, err
		}
		if n.Kind != yaml.ScalarNode {
			return nil, ErrorAt(n, "%s must be a list of strings", name)
		}
		out = append(out, ScalarText(n))
	}
	return out, nil
}

// PositionOf returns the position of a node.
func PositionOf(node *yaml.Node) ast.Position {
	return ast.Position{Line: node.Line, Column: node.Column}
}

// ErrorAt returns a Diagnostic at the position of a node.
func ErrorAt(node *yaml.Node, format string, args ...any) *ast.Diagnostic {
	return ast.ErrorAt(PositionOf(node), format, args...)
}

// Keys returns the keys of a mapping with their positions.
func Keys(pairs []Pair) []ast.LocatedText {
	out := make([]ast.LocatedText, len(pairs))
	for i, kv := range pairs {
		out[i] = ast.LocatedText{Text: kv.Name, Position: PositionOf(kv.Key)}
	}
	return out
}

// ScalarText returns the text of a scalar, "" for null.
func ScalarText(node *yaml.Node) string {
	if IsNull(node) {
		return ""
	}
	return node.Value
}

// NewScalar reads a scalar by YAML 1.2's core schema, restricted to the
// literals of JSON: yes, on, 010, 0x10, 12:30, 1_000, dates, .nan and .inf are
// strings.
func NewScalar(node *yaml.Node) ast.Scalar {
	s := ast.Scalar{Kind: ast.String, Text: node.Value, Position: PositionOf(node)}
	const quoted = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	if node.Style&quoted != 0 || node.Style&yaml.TaggedStyle != 0 && node.ShortTag() == "!!str" {
		return s
	}
	switch node.Value {
	case "", "~", "null", "Null", "NULL":
		s.Kind, s.Text = ast.Null, ""
	case "true", "True", "TRUE":
		s.Kind, s.Text = ast.Bool, "true"
	case "false", "False", "FALSE":
		s.Kind, s.Text = ast.Bool, "false"
	default:
		if _, ok := decimal.Parse(strings.TrimPrefix(s.Text, "+")); ok {
			s.Kind, s.Text = ast.Number, strings.TrimPrefix(s.Text, "+")
		}
	}
	return s
}

// IsNull reports whether a node is a null scalar.
func IsNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && NewScalar(node).Kind == ast.Null
}

// SyntaxError turns an error of the YAML package into a ParseError, with the
// line that its message gives.
func SyntaxError(file string, err error) *ast.ParseError {
	reason := strings.TrimPrefix(err.Error(), "yaml: ")
	pe := &ast.ParseError{File: file, Diagnostic: ast.Diagnostic{Reason: "invalid YAML: " + reason}}
	if strings.Contains(reason, "unknown escape") {
		pe.Hint = BackslashQuotesHint
	}
	if rest, ok := strings.CutPrefix(reason, "line "); ok {
		if number, why, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(number); err == nil {
				pe.Line, pe.Reason = line, "invalid YAML: "+why
			}
		}
	}
	return pe
}

// BackslashQuotesHint is the hint for a backslash in a double-quoted scalar.
const BackslashQuotesHint = "in double quotes, a backslash begins an escape of YAML; write single quotes"
