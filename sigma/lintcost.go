package sigma

// costChecks look at how the engine finds a rule.
var costChecks = []check{
	{LintCheck: LintCheck{"no_witness", LintWarning, "a rule that must be evaluated for every event of its logsource"}, pack: func(l *linter, docs []*lintDoc) {
		l.witnesses(docs, func(d *lintDoc, w *witness, _ *RuleSet) {
			if w.chance >= unwitnessed {
				l.add(d, place{}, "join something that must be there by and to the condition", "nothing in the rule must be there for it to fire: every event of %s is evaluated", d.source)
			}
		})
	}},
	{LintCheck: LintCheck{"presence_only", LintInfo, "a rule that is evaluated wherever a field is present"}, pack: func(l *linter, docs []*lintDoc) {
		l.witnesses(docs, func(d *lintDoc, w *witness, rs *RuleSet) {
			if w.chance < unwitnessed && !rs.hasLiteral(w) {
				l.add(d, place{}, "join a text that must be there by and to the condition", "no text or number must be there for the rule to fire: every event with a certain field is evaluated")
			}
		})
	}},
}

// witnesses compiles the pack and calls f with the witness of each rule that
// can be compiled.
func (l *linter) witnesses(docs []*lintDoc, f func(d *lintDoc, w *witness, rs *RuleSet)) {
	rs := l.compiled()
	i := 0
	for _, d := range docs {
		if d.kind == RuleDocument && !l.failed[d.meta] {
			f(d, &rs.witnesses[i], rs)
			i++
		}
	}
}

// compiled compiles the pack once.
func (l *linter) compiled() *RuleSet {
	if l.rules == nil {
		rs, errs := Compile(Pack{Rules: l.pack.Rules}, Options{Placeholders: l.options.Placeholders})
		l.rules, l.failed = rs, make(map[*Meta]bool)
		for _, err := range errs {
			l.failed[err.Meta] = true
		}
	}
	return l.rules
}

// hasLiteral reports whether something of a witness is more than presence.
func (rs *RuleSet) hasLiteral(w *witness) bool {
	weigh := weigher{rs.shared, rs.freq}
	for _, id := range w.atoms {
		switch a := &rs.shared.atoms[id]; a.op {
		case opLiterals, opNumber:
			continue
		case opGlob, opRegex:
			if weigh.gate(a) != nil {
				continue
			}
			return false
		default:
			return false
		}
	}
	return true
}
