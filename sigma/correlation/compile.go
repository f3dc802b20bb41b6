package correlation

import (
	"slices"

	"github.com/picket-edr/picket/sigma/ast"
)

// A Rule is a compiled correlation rule. Its Level is that of its file, or the
// highest of the rules that it refers to.
type Rule struct {
	ast.Correlation

	inputs []input // by index into Rules
	// keptFields are the fields that correlations over this one need of the
	// event that completes it.
	keptFields []string
	// deferred says that a window must have ended before the condition can be
	// evaluated: later events of the window may change the result.
	deferred bool
	clauses  []clause // of the temporal types: it matches if any holds
	// suppressed says that it raises no alerts of its own: it is only there
	// for its parents.
	suppressed bool
}

// An input is one rule or correlation that a correlation refers to.
type input struct {
	ref    string   // of the rule, as observations have it
	fields []string // that are read: GroupBy, then ValueFields
	inner  *Rule    // nil for a rule
}

// CompiledRules are the correlations of a rule set.
type CompiledRules struct {
	// Rules are the correlations that run, each after those that it refers to.
	Rules []*Rule

	fields map[*ast.Rule][]string
	only   map[*ast.Rule]bool
}

// NeededFields returns the fields of a rule's events that correlations need, nil if
// no correlation refers to the rule.
func (c *CompiledRules) NeededFields(r *ast.Rule) []string { return c.fields[r] }

// CorrelationOnly reports whether a rule raises no alerts of its own: correlations refer
// to it, and none of them sets generate.
func (c *CompiledRules) CorrelationOnly(r *ast.Rule) bool { return c.only[r] }

// Compile compiles the correlations over rules. Those that cannot be compiled are
// left out, each with an error. Disabled holds the IDs of correlations that do
// not run; they suppress the alerts of their rules all the same.
//
// sigma.Compile calls it.
func Compile(rules []*ast.Rule, all []*ast.Correlation, disabled map[string]bool) (*CompiledRules, []*ast.DocumentError) {
	c := compiler{
		rules: rules, all: all, disabled: disabled, compiled: make(map[*ast.Correlation]*Rule),
		out: &CompiledRules{fields: make(map[*ast.Rule][]string), only: make(map[*ast.Rule]bool)},
	}
	for _, r := range rules {
		c.metas = append(c.metas, &r.Meta)
	}
	for _, corr := range all {
		c.metas = append(c.metas, &corr.Meta)
	}
	for _, corr := range all {
		c.suppressReferredRules(corr)
	}
	for _, corr := range all {
		if !disabled[corr.ID] {
			c.compile(corr)
		}
	}
	c.collectFields()
	return c.out, c.errs
}

type compiler struct {
	rules      []*ast.Rule
	all        []*ast.Correlation
	disabled   map[string]bool
	metas      []*ast.Meta                // of both
	compiled   map[*ast.Correlation]*Rule // nil while one is being compiled
	suppressed []*ast.Meta
	out        *CompiledRules
	errs       []*ast.DocumentError
}

func (c *compiler) fail(corr *ast.Correlation, d *ast.Diagnostic) {
	c.errs = append(c.errs, &ast.DocumentError{Kind: ast.CorrelationDocument, Meta: &corr.Meta, Diagnostic: *d})
}

// collectFields works out which fields are needed of events, from the outermost
// correlations inwards, since an inner one passes on what outer ones need.
func (c *compiler) collectFields() {
	for _, rule := range slices.Backward(c.out.Rules) {
		for i := range rule.inputs {
			in := &rule.inputs[i]
			if in.inner != nil {
				in.inner.keptFields = appendMissing(in.inner.keptFields, in.fields, rule.keptFields)
				continue
			}
			for _, r := range c.rules {
				if r.MatchesRef(in.ref) {
					c.out.fields[r] = appendMissing(c.out.fields[r], in.fields, rule.keptFields)
				}
			}
		}
	}
}

// appendMissing appends what dst does not contain yet. The result is not nil.
func appendMissing(dst []string, more ...[]string) []string {
	if dst == nil {
		dst = []string{}
	}
	for _, s := range slices.Concat(more...) {
		if !slices.Contains(dst, s) {
			dst = append(dst, s)
		}
	}
	return dst
}

// suppressReferredRules marks the rules that a correlation refers to as raising no alerts of
// their own, whether the correlation runs or not.
func (c *compiler) suppressReferredRules(corr *ast.Correlation) {
	for _, ref := range corr.Rules {
		m := c.find(ref)
		if m == nil {
			continue
		}
		generates := slices.ContainsFunc(c.all, func(o *ast.Correlation) bool {
			return o.Generate && slices.ContainsFunc(o.Rules, m.MatchesRef)
		})
		if generates {
			continue
		}
		c.suppressed = append(c.suppressed, m)
		for _, r := range c.rules {
			if &r.Meta == m {
				c.out.only[r] = true
			}
		}
	}
}

// find returns the document with that ID or, if there is none, with that name.
func (c *compiler) find(ref string) *ast.Meta {
	var byName *ast.Meta
	for _, m := range c.metas {
		if m.ID != "" && m.MatchesRef(ref) && m.Name != ref {
			return m
		}
		if byName == nil && m.MatchesRef(ref) {
			byName = m
		}
	}
	return byName
}

// compile adds a correlation to the output, after those that it refers to. It
// returns nil if that fails, and errs say why.
func (c *compiler) compile(corr *ast.Correlation) *Rule {
	if rule, ok := c.compiled[corr]; ok {
		return rule
	}
	c.compiled[corr] = nil
	rule := &Rule{Correlation: *corr, suppressed: slices.Contains(c.suppressed, &corr.Meta)}
	for _, ref := range corr.Rules {
		in, level, ok := c.resolveInput(corr, ref)
		if !ok {
			return nil
		}
		rule.inputs = append(rule.inputs, in)
		if corr.Level == ast.NoLevel {
			rule.Level = max(rule.Level, level)
		}
	}
	if err := rule.planEvaluation(); err != nil {
		c.fail(corr, err)
		return nil
	}
	c.compiled[corr] = rule
	c.out.Rules = append(c.out.Rules, rule)
	return rule
}

func (c *compiler) resolveInput(corr *ast.Correlation, ref string) (resolved input, level ast.Level, ok bool) {
	m := c.find(ref)
	if m == nil || c.disabled[m.ID] {
		c.errs = append(c.errs, ast.NewMissingRuleError(ast.CorrelationDocument, &corr.Meta, corr.ConditionPosition, ref))
		return input{}, 0, false
	}
	in := input{ref: m.IDOrName()}
	for _, name := range slices.Concat(corr.GroupBy, corr.ValueFields) {
		if field, ok := corr.Aliases[name][ref]; ok {
			name = field
		}
		in.fields = append(in.fields, name)
	}
	for _, other := range c.all {
		if &other.Meta != m {
			continue
		}
		before := len(c.errs)
		if in.inner = c.compile(other); in.inner == nil {
			if before == len(c.errs) { // it failed before, or is being compiled
				c.fail(corr, ast.ErrorAt(corr.ConditionPosition, "the correlation %q that it refers to does not run, or leads back to it", ref))
			}
			return in, 0, false
		}
		return in, in.inner.Level, true
	}
	return in, m.Level, true
}
