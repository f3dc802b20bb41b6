package sigma

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// correlation reads the correlation block.
func (p *parser) correlation(node *yaml.Node, top map[string]pair) (*Correlation, *lineError) {
	pairs, err := p.mapping(node, "correlation")
	if err != nil {
		return nil, err
	}
	c := &Correlation{place: placeOf(node)}
	byName := make(map[string]pair, len(pairs))
	for _, kv := range pairs {
		byName[kv.name] = kv
	}
	// The specification shows generate both beside the block and in it.
	if kv, ok := top["generate"]; ok {
		if _, ok := byName["generate"]; !ok {
			byName["generate"], pairs = kv, append(pairs, kv)
		}
	}
	for _, kv := range pairs {
		switch kv.name {
		case "type":
			i := slices.Index(correlationTypes[1:], text(kv.value))
			if i < 0 {
				return nil, at(kv.value, "unknown type of correlation %q", kv.value.Value).withHint(didYouMean(kv.value.Value, correlationTypes[1:], "one of "+strings.Join(correlationTypes[1:], ", ")))
			}
			c.Type = CorrelationType(i + 1)
		case "rules":
			c.Rules, err = p.texts(kv.value, "rules")
		case "group-by":
			c.GroupBy, err = p.texts(kv.value, "group-by")
		case "timespan":
			c.Timespan, err = timespan(kv.value)
		case "generate":
			if v := newScalar(kv.value); v.kind != Bool {
				return nil, at(kv.value, "generate must be true or false")
			} else {
				c.Generate = v.text == "true"
			}
		case "aliases":
			c.Aliases, err = p.aliases(kv.value)
		case "condition":
		default:
			p.warn("correlation_key", placeOf(kv.key), "%q is no part of a correlation and has no effect", kv.name)
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case c.Type == 0:
		return nil, at(node, "the correlation has no type").withHint("one of " + strings.Join(correlationTypes[1:], ", "))
	case c.Timespan == 0:
		return nil, at(node, "the correlation has no timespan").withHint("such as 10m: a number with s, m, h or d")
	}
	if err := p.correlationCondition(c, byName["condition"].value); err != nil {
		return nil, err
	}
	if len(c.Rules) == 0 {
		return nil, at(node, "the correlation has no rules").withHint("rules is a list of ids or names of rules")
	}
	for i, r := range c.Rules {
		if slices.Contains(c.Rules[:i], r) && c.Type != TemporalOrdered {
			return nil, at(byName["rules"].value, "the correlation has the rule %q twice", r)
		}
	}
	if err := p.checkAliases(c, byName["aliases"].value); err != nil {
		return nil, err
	}
	c.Meta = p.meta
	return c, nil
}

// timespan reads a number and a unit. A month is 30.436875 days and a year
// twelve of them, as in pySigma.
func timespan(node *yaml.Node) (time.Duration, *lineError) {
	units := map[byte]time.Duration{
		's': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour,
		'w': 7 * 24 * time.Hour, 'M': 2629746 * time.Second, 'y': 31556952 * time.Second,
	}
	s := text(node)
	if len(s) > 1 {
		n, err := strconv.ParseInt(s[:len(s)-1], 10, 64)
		unit := units[s[len(s)-1]]
		if err == nil && unit > 0 && n > 0 && n <= int64(maxTimespan/unit) {
			return time.Duration(n) * unit, nil
		}
	}
	return 0, at(node, "%q is no timespan", s).withHint("such as 10m: a number with s, m, h or d, at most ten years")
}

const maxTimespan = 10 * 31556952 * time.Second

func (p *parser) aliases(node *yaml.Node) (map[string]map[string]string, *lineError) {
	if isNull(node) {
		return nil, nil
	}
	pairs, err := p.mapping(node, "aliases")
	if err != nil {
		return nil, err
	}
	all := make(map[string]map[string]string)
	for _, kv := range pairs {
		fields, err := p.mapping(kv.value, "an alias")
		if err != nil {
			return nil, err
		}
		all[kv.name] = make(map[string]string)
		for _, f := range fields {
			if f.value.Kind != yaml.ScalarNode || isNull(f.value) {
				return nil, at(f.value, "the field of alias %q must be a text", kv.name)
			}
			all[kv.name][f.name] = f.value.Value
		}
	}
	return all, nil
}

func (p *parser) checkAliases(c *Correlation, node *yaml.Node) *lineError {
	for alias, fields := range c.Aliases {
		for rule := range fields {
			if !slices.Contains(c.Rules, rule) {
				return at(node, "alias %q is for the rule %q, which the correlation is not over", alias, rule)
			}
		}
		for _, rule := range c.Rules {
			if _, ok := fields[rule]; !ok && slices.Contains(append(c.GroupBy, c.fields...), alias) {
				return at(node, "alias %q lacks a field for the rule %q", alias, rule)
			}
		}
	}
	return nil
}

// correlationCondition reads the condition: comparisons, or for the temporal
// types an expression over the rules.
func (p *parser) correlationCondition(c *Correlation, node *yaml.Node) *lineError {
	temporal := c.Type == Temporal || c.Type == TemporalOrdered
	if node == nil || isNull(node) {
		if !temporal {
			return errorAt(c.place, "a correlation of type %s needs a condition", c.Type).withHint("such as gte: 10")
		}
		return nil
	}
	c.place = placeOf(node)
	if node.Kind == yaml.ScalarNode {
		if !temporal {
			return at(node, "the condition of a correlation of type %s must be a mapping", c.Type).withHint("such as gte: 10")
		}
		return p.ruleCondition(c, node)
	}
	pairs, err := p.mapping(node, "the condition of a correlation")
	if err != nil {
		return err
	}
	hasPercentile := false
	for _, kv := range pairs {
		switch kv.name {
		case "lt", "lte", "gt", "gte", "eq", "neq":
			b := bound{op: kv.name}
			if b.limit, err = figure(kv); err != nil {
				return err
			}
			c.bounds = append(c.bounds, b)
		case "field":
			if c.fields, err = p.texts(kv.value, "field"); err != nil {
				return err
			}
		case "percentile":
			hasPercentile = true
			if c.percentile, err = figure(kv); err == nil && (c.percentile < 0 || c.percentile > 100) {
				err = at(kv.value, "a percentile is from 0 to 100")
			}
			if err != nil {
				return err
			}
		default:
			return at(kv.key, "unknown comparison %q", kv.name).withHint("one of lt, lte, gt, gte, eq, neq")
		}
	}
	counts := c.Type == EventCount || temporal
	switch {
	case len(c.bounds) == 0:
		return at(node, "the condition compares with nothing").withHint("such as gte: 10")
	case counts && len(c.fields) > 0:
		return at(node, "a correlation of type %s has no field", c.Type)
	case !counts && len(c.fields) == 0:
		return at(node, "a correlation of type %s needs a field in its condition", c.Type)
	case !counts && c.Type != ValueCount && len(c.fields) > 1:
		return at(node, "a correlation of type %s has one field", c.Type)
	case hasPercentile != (c.Type == ValuePercentile):
		return at(node, "percentile goes with the type value_percentile").withHint("such as percentile: 95")
	}
	return nil
}

func figure(kv pair) (float64, *lineError) {
	v := newScalar(kv.value)
	if v.kind == Number {
		if f, err := strconv.ParseFloat(v.text, 64); err == nil {
			return f, nil
		}
	}
	return 0, at(kv.value, "%s needs a number", kv.name)
}

// ruleCondition reads an expression over the rules, which it may introduce.
func (p *parser) ruleCondition(c *Correlation, node *yaml.Node) *lineError {
	tokens := condTokens(node.Value)
	if c.Rules == nil {
		for _, word := range tokens {
			if !slices.Contains([]string{"and", "or", "not", "(", ")"}, strings.ToLower(word)) && !slices.Contains(c.Rules, word) {
				c.Rules = append(c.Rules, word)
			}
		}
	}
	for _, r := range c.Rules {
		p.search.detections = append(p.search.detections, detection{name: r})
	}
	parser := condParser{parser: p, node: node, tokens: tokens}
	cond, err := parser.parse()
	if err != nil {
		return err
	}
	used := make([]bool, len(c.Rules))
	cond.mark(used)
	if i := slices.Index(used, false); i >= 0 {
		return at(node, "the condition does not name the rule %q", c.Rules[i])
	}
	c.condition = &cond
	return nil
}

// mark notes which detections the condition looks at.
func (c *condition) mark(used []bool) {
	if c.op == condIs {
		used[c.detection] = true
	}
	for i := range c.kids {
		c.kids[i].mark(used)
	}
}
