package parser

import (
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/yamldoc"
)

// filter reads the filter block: the rules, and then searches and a condition
// as in a detection block.
func (p *parser) filter(node *yaml.Node, document map[string]yamldoc.Pair) (*ast.Filter, *ast.Diagnostic) {
	pairs, err := p.Mapping(node, "filter")
	if err != nil {
		return nil, err
	}
	f := &ast.Filter{LogSource: p.source}
	hasRules := false
	var rest []yamldoc.Pair
	for _, kv := range pairs {
		if kv.Name != "rules" {
			rest = append(rest, kv)
			continue
		}
		hasRules, f.RulesPosition = true, yamldoc.PositionOf(kv.Key)
		if f.Rules, err = p.Strings(kv.Value, "rules"); err != nil {
			return nil, err
		}
	}
	if !hasRules {
		return nil, yamldoc.ErrorAt(node, "the filter does not say which rules it is for").WithHint("add rules: a list of ids or names, or any")
	}
	if len(f.Rules) == 0 || len(f.Rules) == 1 && strings.EqualFold(f.Rules[0], "any") {
		f.Rules = nil
	}
	if err := p.detectionBlock(node, rest); err != nil {
		return nil, err
	}
	if len(p.detections.Conditions) > 1 {
		return nil, yamldoc.ErrorAt(node, "a filter has one condition")
	}
	if kv, ok := document["expires"]; ok {
		if f.Expires, err = expiry(kv.Value); err != nil {
			return nil, err
		}
	}
	f.Meta, f.Detections = p.meta, p.detections
	return f, nil
}

// expiry reads a time in RFC 3339, or the start of a day in UTC.
func expiry(node *yaml.Node) (time.Time, *ast.Diagnostic) {
	text := yamldoc.ScalarText(node)
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, yamldoc.ErrorAt(node, "expires is neither a date nor a time").WithHint("write 2026-12-31 or 2026-12-31T12:00:00Z")
}
