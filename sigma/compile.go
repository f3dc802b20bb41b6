package sigma

import (
	"cmp"
	"slices"
	"sync"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/correlation"
	"github.com/picket-edr/picket/sigma/internal/literalindex"
	"github.com/picket-edr/picket/sigma/internal/regexprefilter"
)

// Options change how rules are compiled. The zero value is ready to use.
type Options struct {
	// Placeholders are the values of %name% in items with the modifier expand.
	// A value is read as a Sigma string, wildcards included. A rule with a
	// placeholder that has no value is left out.
	Placeholders map[string][]string
	// Disabled holds the IDs of the rules, correlations and filters that do not
	// run. A rule that a disabled correlation refers to still raises no alerts
	// of its own.
	Disabled map[string]bool
	// FilterReaches says whether a filter may apply to a rule that it selects; nil
	// means always. It is for rules of several origins.
	FilterReaches func(f *ast.Filter, r *ast.Rule) bool
}

// A RuleSet is a list of compiled rules. It is immutable and safe for
// concurrent use.
type RuleSet struct {
	rules        []*Rule
	interned     *sharedTables
	correlations []*correlation.Rule

	logSourceParts map[string]bool // that rules name
	disabled       map[string]bool // Options.Disabled

	mu      sync.RWMutex
	groups  map[string]*RuleGroup // by sources; nil if no rule applies
	byRules map[string]*RuleGroup // by the rules in it
}

// An sharedTables holds what the rules of a set share.
type sharedTables struct {
	fields      map[string]int32 // numbers of the fields that rules refer to
	atoms       []atom
	frequencies *literalindex.Frequencies // of the literals of the atoms
}

// A ruleProgram is a rule in executable form.
type ruleProgram struct {
	expr      expr
	prefilter rulePrefilter
	interned  *sharedTables
}

// Compile compiles the documents of a collection. Those that cannot be compiled
// are left out, each with an error; the others run. The RuleSet has copies of
// the documents, so that those given stay as they are.
func Compile(c ast.Collection, o Options) (*RuleSet, []*ast.DocumentError) {
	comp := &compiler{
		options:      o,
		sharedTables: &sharedTables{fields: make(map[string]int32), frequencies: literalindex.NewCommonTextFrequencies()},
		byKey:        make(map[string]int32),
		regexes:      make(map[string]*regexprefilter.Regex),
	}
	rs := &RuleSet{interned: comp.sharedTables, disabled: o.Disabled}
	filters := comp.lowerFilters(c)
	for _, r := range c.Rules {
		if o.Disabled[r.ID] {
			continue
		}
		e, err := comp.lowerDetections(&r.Detections)
		if err != nil {
			comp.fail(ast.RuleDocument, &r.Meta, err)
			continue
		}
		e = comp.applyFilters(e, r, filters)
		rs.rules = append(rs.rules, &Rule{Rule: *r, program: &ruleProgram{expr: e, interned: comp.sharedTables}})
	}
	rs.logSourceParts = logSourcePartsOf(rs.rules)
	comp.optimizeRules(rs.rules)
	rs.compileCorrelations(comp, c.Correlations)
	return rs, comp.errs
}

// applyFilters returns e narrowed down by the filters that apply to r.
func (c *compiler) applyFilters(e expr, r *ast.Rule, filters []loweredFilter) expr {
	for i := range filters {
		f := &filters[i]
		if !f.AppliesTo(r) || c.options.FilterReaches != nil && !c.options.FilterReaches(f.Filter, r) {
			continue
		}
		if c.nodes+f.nodes > maxRuleSetExprNodes {
			c.fail(ast.FilterDocument, &f.Meta, ast.ErrorAt(f.RulesPosition, "the filter is too large for the number of rules that it applies to"))
			continue
		}
		c.nodes += f.nodes
		e = joinExprs(exprAnd, []expr{e, f.expr})
	}
	return e
}

// compileCorrelations compiles the correlations over the rules that run.
func (rs *RuleSet) compileCorrelations(c *compiler, all []*ast.Correlation) {
	parsed := make([]*ast.Rule, len(rs.rules))
	for i, r := range rs.rules {
		parsed[i] = &r.Rule
	}
	set, errs := correlation.Compile(parsed, all, c.options.Disabled)
	for i, r := range rs.rules {
		r.correlationFields, r.correlationOnly = set.NeededFields(parsed[i]), set.CorrelationOnly(parsed[i])
	}
	rs.correlations = set.Rules
	c.errs = append(c.errs, errs...)
}

// IsDisabled reports whether Options.Disabled has an id, of a rule or not.
func (rs *RuleSet) IsDisabled(id string) bool { return rs.disabled[id] }

// Rules returns the rules in the order of the collection. The caller must not
// change the slice.
func (rs *RuleSet) Rules() []*Rule { return rs.rules }

// Len returns the number of rules.
func (rs *RuleSet) Len() int { return len(rs.rules) }

// Correlations returns the correlations, each after those that it refers to.
// The caller must not change the slice.
func (rs *RuleSet) Correlations() []*correlation.Rule { return rs.correlations }

type compiler struct {
	options Options
	errs    []*ast.DocumentError
	*sharedTables
	byKey               map[string]int32 // atoms by key
	documentBudgetBytes int              // bytes that the values of the document may still expand to

	patternBytes, nodes int // of the documents so far; see maxRuleSetPatternBytes and maxRuleSetExprNodes
	regexes             map[string]*regexprefilter.Regex
}

func (c *compiler) fail(kind ast.DocumentKind, m *ast.Meta, d *ast.Diagnostic) {
	c.errs = append(c.errs, &ast.DocumentError{Kind: kind, Meta: m, Diagnostic: *d})
}

// A loweredFilter is a filter in executable form.
type loweredFilter struct {
	*ast.Filter
	expr  expr
	nodes int
}

// lowerFilters lowers the filters. One that names an unknown rule is an error,
// and applies to the other rules all the same.
func (c *compiler) lowerFilters(all ast.Collection) []loweredFilter {
	var out []loweredFilter
	for _, f := range all.Filters {
		if c.options.Disabled[f.ID] {
			continue
		}
		e, err := c.lowerDetections(&f.Detections)
		if err != nil {
			c.fail(ast.FilterDocument, &f.Meta, err)
			continue
		}
		out = append(out, loweredFilter{f, e, e.countNodes()})
		for _, ref := range f.Rules {
			if !slices.ContainsFunc(all.Rules, func(r *ast.Rule) bool { return r.MatchesRef(ref) }) {
				c.errs = append(c.errs, ast.NewMissingRuleError(ast.FilterDocument, &f.Meta, f.RulesPosition, ref))
			}
		}
	}
	return out
}

func (c *compiler) internField(name string) int32 {
	id, ok := c.fields[name]
	if !ok {
		id = int32(len(c.fields))
		c.fields[name] = id
	}
	return id
}

func (c *compiler) internAtom(a atom) expr {
	a.sortLiterals()
	key := a.key()
	id, ok := c.byKey[key]
	if !ok {
		id = int32(len(c.atoms))
		c.atoms = append(c.atoms, a)
		c.byKey[key] = id
	}
	return expr{op: exprAtom, atom: id}
}

// sortLiterals sorts the literals, shorter ones first, and drops duplicates.
func (a *atom) sortLiterals() {
	slices.SortFunc(a.literals, func(x, y literalindex.Literal) int {
		return cmp.Or(cmp.Compare(x.Placement, y.Placement), cmp.Compare(len(x.Text), len(y.Text)), slices.Compare(x.Text, y.Text))
	})
	a.literals = slices.CompactFunc(a.literals, func(x, y literalindex.Literal) bool {
		return x.Placement == y.Placement && string(x.Text) == string(y.Text)
	})
}

func (c *compiler) internRegex(source, flags string) (*regexprefilter.Regex, error) {
	key := flags + "/" + source
	if r, ok := c.regexes[key]; ok {
		return r, nil
	}
	r, err := regexprefilter.Compile(source, flags)
	if err == nil {
		c.regexes[key] = r
	}
	return r, err
}

// optimizeRules does what needs the atoms of all rules: it indexes literals, orders
// expressions by cost, and chooses prefilters.
func (c *compiler) optimizeRules(rules []*Rule) {
	for i := range c.atoms {
		for _, l := range c.atoms[i].literals {
			c.frequencies.Add(string(l.Text))
		}
	}
	for i := range c.atoms {
		c.atoms[i].buildLiteralIndex(c.frequencies)
	}
	model := selectivityModel{c.sharedTables}
	for _, r := range rules {
		c.orderByCost(&r.program.expr)
		r.program.prefilter = model.prefilter(&r.program.expr, false)
	}
}

const (
	minContainsLiteralsToIndex = 5
	minLiteralsToIndex         = 24
)

// buildLiteralIndex gives an atom of many literals an index of its own.
func (a *atom) buildLiteralIndex(f *literalindex.Frequencies) {
	if a.op != opLiterals || a.cased {
		return
	}
	n := 0
	for _, l := range a.literals {
		if l.Placement == literalindex.Contains {
			n++
		}
		if len(l.Text) == 0 && l.Placement != literalindex.Equals {
			return // matches any value, which the index would not report
		}
	}
	if n < minContainsLiteralsToIndex && len(a.literals) < minLiteralsToIndex {
		return
	}
	b := literalindex.NewBuilder(f)
	for _, l := range a.literals {
		b.AddLiteral(l, literalindex.Posting{})
	}
	a.literalIndex = b.Build()
}

// orderByCost estimates the cost of an expression, and sorts operands so that
// the cheapest is evaluated first.
func (c *compiler) orderByCost(e *expr) {
	switch e.op {
	case exprAtom:
		e.cost = c.atoms[e.atom].cost()
		return
	case exprNot:
		// Filters rarely match, so that evaluating one rarely decides: do it late.
		c.orderByCost(&e.operands[0])
		e.cost = 2*e.operands[0].cost + 20
		return
	}
	e.operands = slices.Clone(e.operands)
	total := int32(0)
	for i := range e.operands {
		c.orderByCost(&e.operands[i])
		total += e.operands[i].cost
	}
	slices.SortStableFunc(e.operands, func(a, b expr) int { return cmp.Compare(a.cost, b.cost) })
	e.cost = total
	if e.op == exprAnd {
		e.cost = (e.operands[0].cost + total) / 2
	}
}

func (a *atom) cost() int32 {
	cost := int32(5)
	switch a.op {
	case opLiterals:
		if a.literalIndex != nil {
			cost = 80
			break
		}
		for _, l := range a.literals {
			if l.Placement == literalindex.Contains {
				cost += 20
			} else {
				cost += 2
			}
		}
	case opGlob:
		cost = 60
	case opRegex:
		switch {
		case a.regex.NeedsNoRegexp():
			cost = 50
		case a.regex.RequiredLiteralSets() != nil:
			cost = 300
		default:
			cost = 1000
		}
	case opNumberEquals, opCompare, opCIDR, opFieldRef:
		cost = 25
	}
	if a.field == anyField {
		cost *= 16
	}
	return cost
}
