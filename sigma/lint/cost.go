package lint

import (
	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/ast"
)

// prefilterChecks check how well an index narrows down the events that a rule must
// be evaluated for.
var prefilterChecks = []check{
	{Check: Check{"no_prefilter", Warning, "a rule that must be evaluated for every event of its logsource"}, collection: func(l *linter, docs []*document) {
		l.eachRuleWithPrefilter(sigma.NoPrefilter, docs, func(d *document) {
			l.addFinding(d, ast.Position{}, "require a string that matching events contain, joined by and", "the rule has no prefilter: it must be evaluated for every event of %s", d.source)
		})
	}},
	{Check: Check{"weak_prefilter", Info, "a rule that must be evaluated for every event with a certain field"}, collection: func(l *linter, docs []*document) {
		l.eachRuleWithPrefilter(sigma.WeakPrefilter, docs, func(d *document) {
			l.addFinding(d, ast.Position{}, "require a string that matching events contain, joined by and", "the rule has a weak prefilter: it must be evaluated for every event with a certain field")
		})
	}},
}

// eachRuleWithPrefilter calls f for each rule that compiles and has a prefilter of that
// strength.
func (l *linter) eachRuleWithPrefilter(strength sigma.PrefilterStrength, docs []*document, f func(d *document)) {
	rules := l.compiledRules().Rules()
	for _, d := range docs {
		if d.kind != ast.RuleDocument || l.failed[d.meta] {
			continue
		}
		if rules[0].PrefilterStrength() == strength {
			f(d)
		}
		rules = rules[1:]
	}
}

// compiledRules returns the compiled rules, which it compiles at the first call.
func (l *linter) compiledRules() *sigma.RuleSet {
	if l.compiled == nil {
		set, errs := sigma.Compile(ast.Collection{Rules: l.collection.Rules}, sigma.Options{Placeholders: l.options.Placeholders})
		l.compiled, l.failed = set, make(map[*ast.Meta]bool)
		for _, err := range errs {
			l.failed[err.Meta] = true
		}
	}
	return l.compiled
}
