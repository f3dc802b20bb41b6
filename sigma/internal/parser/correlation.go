package parser

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/suggest"
	"github.com/picket-edr/picket/sigma/internal/yamldoc"
)

// correlation reads the correlation block.
func (p *parser) correlation(node *yaml.Node, top map[string]yamldoc.Pair) (*ast.Correlation, *ast.Diagnostic) {
	pairs, err := p.Mapping(node, "correlation")
	if err != nil {
		return nil, err
	}
	c := &ast.Correlation{ConditionPosition: yamldoc.PositionOf(node)}
	types := ast.CorrelationTypeNames()
	oneOf := "one of " + strings.Join(types, ", ")
	byName := make(map[string]yamldoc.Pair, len(pairs))
	for _, kv := range pairs {
		byName[kv.Name] = kv
	}
	// The specification shows generate both beside the block and in it.
	if kv, ok := top["generate"]; ok {
		if _, ok := byName["generate"]; !ok {
			byName["generate"], pairs = kv, append(pairs, kv)
		}
	}
	for _, kv := range pairs {
		switch kv.Name {
		case "type":
			i := slices.Index(types, yamldoc.ScalarText(kv.Value))
			if i < 0 {
				return nil, yamldoc.ErrorAt(kv.Value, "unknown type of correlation %q", kv.Value.Value).WithHint(suggest.DidYouMean(kv.Value.Value, types, oneOf))
			}
			c.Type = ast.CorrelationType(i + 1)
		case "rules":
			c.Rules, err = p.Strings(kv.Value, "rules")
		case "group-by":
			c.GroupBy, err = p.Strings(kv.Value, "group-by")
		case "timespan":
			c.Timespan, err = timespan(kv.Value)
		case "generate":
			if v := yamldoc.NewScalar(kv.Value); v.Kind != ast.Bool {
				return nil, yamldoc.ErrorAt(kv.Value, "generate must be true or false")
			} else {
				c.Generate = v.Text == "true"
			}
		case "aliases":
			c.Aliases, err = p.aliases(kv.Value)
		case "condition":
		default:
			p.warn("correlation_key", yamldoc.PositionOf(kv.Key), "%q is not part of a correlation and has no effect", kv.Name)
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case c.Type == 0:
		return nil, yamldoc.ErrorAt(node, "the correlation has no type").WithHint(oneOf)
	case c.Timespan == 0:
		return nil, yamldoc.ErrorAt(node, "the correlation has no timespan").WithHint("such as 10m: a number with s, m, h or d")
	}
	if err := p.correlationCondition(c, byName["condition"].Value); err != nil {
		return nil, err
	}
	if len(c.Rules) == 0 {
		return nil, yamldoc.ErrorAt(node, "the correlation has no rules").WithHint("rules is a list of ids or names of rules")
	}
	for i, r := range c.Rules {
		if slices.Contains(c.Rules[:i], r) && c.Type != ast.TemporalOrdered {
			return nil, yamldoc.ErrorAt(byName["rules"].Value, "the correlation has the rule %q twice", r)
		}
	}
	if err := p.checkAliases(c, byName["aliases"].Value); err != nil {
		return nil, err
	}
	c.Meta = p.meta
	return c, nil
}

// timespan reads a number and a unit. A month is 30.436875 days and a year
// twelve of them, as in pySigma.
func timespan(node *yaml.Node) (time.Duration, *ast.Diagnostic) {
	units := map[byte]time.Duration{
		's': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour,
		'w': 7 * 24 * time.Hour, 'M': 2629746 * time.Second, 'y': 31556952 * time.Second,
	}
	s := yamldoc.ScalarText(node)
	if len(s) > 1 {
		n, err := strconv.ParseInt(s[:len(s)-1], 10, 64)
		unit := units[s[len(s)-1]]
		if err == nil && unit > 0 && n > 0 && n <= int64(maxTimespan/unit) {
			return time.Duration(n) * unit, nil
		}
	}
	return 0, yamldoc.ErrorAt(node, "%q is not a timespan", s).WithHint("such as 10m: a number with s, m, h or d, at most ten years")
}

const maxTimespan = 10 * 31556952 * time.Second

func (p *parser) aliases(node *yaml.Node) (map[string]map[string]string, *ast.Diagnostic) {
	if yamldoc.IsNull(node) {
		return nil, nil
	}
	pairs, err := p.Mapping(node, "aliases")
	if err != nil {
		return nil, err
	}
	all := make(map[string]map[string]string)
	for _, kv := range pairs {
		fields, err := p.Mapping(kv.Value, "an alias")
		if err != nil {
			return nil, err
		}
		all[kv.Name] = make(map[string]string)
		for _, f := range fields {
			if f.Value.Kind != yaml.ScalarNode || yamldoc.IsNull(f.Value) {
				return nil, yamldoc.ErrorAt(f.Value, "the field of alias %q must be a string", kv.Name)
			}
			all[kv.Name][f.Name] = f.Value.Value
		}
	}
	return all, nil
}

func (p *parser) checkAliases(c *ast.Correlation, node *yaml.Node) *ast.Diagnostic {
	for alias, fields := range c.Aliases {
		for rule := range fields {
			if !slices.Contains(c.Rules, rule) {
				return yamldoc.ErrorAt(node, "alias %q is for the rule %q, to which the correlation does not refer", alias, rule)
			}
		}
		for _, rule := range c.Rules {
			if _, ok := fields[rule]; !ok && slices.Contains(append(c.GroupBy, c.ValueFields...), alias) {
				return yamldoc.ErrorAt(node, "alias %q lacks a field for the rule %q", alias, rule)
			}
		}
	}
	return nil
}

// correlationCondition reads the condition: comparisons, or for the temporal
// types an expression over the rules.
func (p *parser) correlationCondition(c *ast.Correlation, node *yaml.Node) *ast.Diagnostic {
	temporal := c.Type == ast.Temporal || c.Type == ast.TemporalOrdered
	if node == nil || yamldoc.IsNull(node) {
		if !temporal {
			return ast.ErrorAt(c.ConditionPosition, "a correlation of type %s needs a condition", c.Type).WithHint("such as gte: 10")
		}
		return nil
	}
	c.ConditionPosition = yamldoc.PositionOf(node)
	if node.Kind == yaml.ScalarNode {
		if !temporal {
			return yamldoc.ErrorAt(node, "the condition of a correlation of type %s must be a mapping", c.Type).WithHint("such as gte: 10")
		}
		return p.expressionOverRules(c, node)
	}
	pairs, err := p.Mapping(node, "the condition of a correlation")
	if err != nil {
		return err
	}
	hasPercentile := false
	for _, kv := range pairs {
		switch kv.Name {
		case "lt", "lte", "gt", "gte", "eq", "neq":
			b := ast.Comparison{Op: kv.Name}
			if b.Value, err = number(kv); err != nil {
				return err
			}
			c.Comparisons = append(c.Comparisons, b)
		case "field":
			if c.ValueFields, err = p.Strings(kv.Value, "field"); err != nil {
				return err
			}
		case "percentile":
			hasPercentile = true
			if c.Percentile, err = number(kv); err == nil && (c.Percentile < 0 || c.Percentile > 100) {
				err = yamldoc.ErrorAt(kv.Value, "a percentile is from 0 to 100")
			}
			if err != nil {
				return err
			}
		default:
			return yamldoc.ErrorAt(kv.Key, "unknown comparison %q", kv.Name).WithHint("one of lt, lte, gt, gte, eq, neq")
		}
	}
	counts := c.Type == ast.EventCount || temporal
	switch {
	case len(c.Comparisons) == 0:
		return yamldoc.ErrorAt(node, "the condition compares with nothing").WithHint("such as gte: 10")
	case counts && len(c.ValueFields) > 0:
		return yamldoc.ErrorAt(node, "a correlation of type %s has no field", c.Type)
	case !counts && len(c.ValueFields) == 0:
		return yamldoc.ErrorAt(node, "a correlation of type %s needs a field in its condition", c.Type)
	case !counts && c.Type != ast.ValueCount && len(c.ValueFields) > 1:
		return yamldoc.ErrorAt(node, "a correlation of type %s has one field", c.Type)
	case hasPercentile != (c.Type == ast.ValuePercentile):
		return yamldoc.ErrorAt(node, "percentile goes with the type value_percentile").WithHint("such as percentile: 95")
	}
	return nil
}

// number reads a number.
func number(kv yamldoc.Pair) (float64, *ast.Diagnostic) {
	v := yamldoc.NewScalar(kv.Value)
	if v.Kind == ast.Number {
		if f, err := strconv.ParseFloat(v.Text, 64); err == nil {
			return f, nil
		}
	}
	return 0, yamldoc.ErrorAt(kv.Value, "%s needs a number", kv.Name)
}

// expressionOverRules reads an expression over the rules. Without a list of rules,
// those that it names are the list.
func (p *parser) expressionOverRules(c *ast.Correlation, node *yaml.Node) *ast.Diagnostic {
	if c.Rules == nil {
		for _, word := range ConditionTokens(node.Value) {
			if !slices.Contains([]string{"and", "or", "not", "(", ")"}, strings.ToLower(word)) && !slices.Contains(c.Rules, word) {
				c.Rules = append(c.Rules, word)
			}
		}
	}
	cond, err := p.singleCondition(node, c.Rules)
	if err != nil {
		return err
	}
	if i := cond.FirstUnusedOperand(len(c.Rules)); i >= 0 {
		return yamldoc.ErrorAt(node, "the condition does not name the rule %q", c.Rules[i])
	}
	c.Condition = &cond
	return nil
}
