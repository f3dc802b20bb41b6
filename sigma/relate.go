package sigma

import (
	"slices"
)

// A relation is a correlation in executable form.
type relation struct {
	Correlation
	inputs []input // by index into Rules
	// keep are the fields that correlations over this one ask for of the event
	// that completes it.
	keep   []string
	over   []*relation // the correlations over this one
	judged bool        // only when its window has ended is it known whether it fires
	cases  []conjunct  // of the temporal types: it fires if any holds
	silent bool
}

// An input is one rule or correlation that a relation is over.
type input struct {
	ref    string   // of the rule
	fields []string // to read for GroupBy, then for the values
	inner  *relation
}

// ref is what observations name a document by.
func (m *Meta) ref() string {
	if m.ID != "" {
		return m.ID
	}
	return m.Name
}

// relate compiles the correlations, each behind those that it is over, and
// tells rules what is asked of them.
func (c *compiler) relate(rules []*Rule, all []*Correlation) []*relation {
	r := relater{compiler: c, rules: rules, state: make(map[*Correlation]*relation), all: all}
	for _, rule := range rules {
		r.metas = append(r.metas, &rule.Meta)
	}
	for _, corr := range all {
		r.metas = append(r.metas, &corr.Meta)
	}
	for _, corr := range all {
		r.silence(corr)
	}
	var out []*relation
	for _, corr := range all {
		if !c.options.Off[corr.ID] {
			r.compile(corr, &out)
		}
	}
	// From the outermost inwards, what an outer one wants is known first.
	for i := len(out) - 1; i >= 0; i-- {
		rel := out[i]
		for k := range rel.inputs {
			in := &rel.inputs[k]
			if in.inner != nil {
				in.inner.over = append(in.inner.over, rel)
				in.inner.keep = union(union(in.inner.keep, in.fields), rel.keep)
				continue
			}
			for _, rule := range rules {
				if rule.isNamed(in.ref) {
					rule.observed = union(union(rule.observed, in.fields), rel.keep)
				}
			}
		}
	}
	return out
}

func union(a, b []string) []string {
	if a == nil {
		a = []string{}
	}
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}

type relater struct {
	*compiler
	rules  []*Rule
	all    []*Correlation
	metas  []*Meta                    // of both
	state  map[*Correlation]*relation // nil while its compilation is under way
	silent []*Meta
}

// silence keeps rules that are there for a correlation from raising alerts of
// their own, whether it runs or not.
func (r *relater) silence(corr *Correlation) {
	for _, ref := range corr.Rules {
		m := r.find(ref)
		if m == nil {
			continue
		}
		generates := slices.ContainsFunc(r.all, func(o *Correlation) bool {
			return o.Generate && slices.ContainsFunc(o.Rules, m.isNamed)
		})
		if generates {
			continue
		}
		r.silent = append(r.silent, m)
		for _, rule := range r.rules {
			if &rule.Meta == m {
				rule.silent = true
			}
		}
	}
}

// find returns the document that ref names: by id before by name.
func (r *relater) find(ref string) *Meta {
	var byName *Meta
	for _, m := range r.metas {
		if m.ID != "" && m.isNamed(ref) && m.Name != ref {
			return m
		}
		if byName == nil && m.isNamed(ref) {
			byName = m
		}
	}
	return byName
}

// compile adds corr to out, behind those that it is over. It is nil where that
// can't be done, and errs say why.
func (r *relater) compile(corr *Correlation, out *[]*relation) *relation {
	if rel, ok := r.state[corr]; ok {
		return rel
	}
	r.state[corr] = nil
	rel := &relation{Correlation: *corr, silent: slices.Contains(r.silent, &corr.Meta)}
	for _, ref := range corr.Rules {
		in, level, ok := r.input(rel, ref, out)
		if !ok {
			return nil
		}
		rel.inputs = append(rel.inputs, in)
		if corr.Level == NoLevel {
			rel.Level = max(rel.Level, level)
		}
	}
	if err := rel.cast(); err != nil {
		r.fail(CorrelationDocument, &corr.Meta, err)
		return nil
	}
	r.state[corr] = rel
	*out = append(*out, rel)
	return rel
}

func (r *relater) input(rel *relation, ref string, out *[]*relation) (input, Level, bool) {
	m := r.find(ref)
	if m == nil || r.options.Off[m.ID] {
		err := missing(CorrelationDocument, &rel.Meta, rel.place, ref)
		r.errs = append(r.errs, err)
		return input{}, 0, false
	}
	in := input{ref: m.ref()}
	for _, name := range slices.Concat(rel.GroupBy, rel.fields) {
		if field, ok := rel.Aliases[name][ref]; ok {
			name = field
		}
		in.fields = append(in.fields, name)
	}
	for _, corr := range r.all {
		if &corr.Meta != m {
			continue
		}
		known := r.errs
		if in.inner = r.compile(corr, out); in.inner == nil {
			if len(known) == len(r.errs) { // said already, or under way
				r.fail(CorrelationDocument, &rel.Meta, errorAt(rel.place, "the correlation %q that it is over does not run, or leads back to it", ref))
			}
			return in, 0, false
		}
		return in, in.inner.Level, true
	}
	return in, m.Level, true
}

// Correlations returns the correlations that run, each behind those that it is
// over. The caller must not change them.
func (rs *RuleSet) Correlations() []*Correlation {
	out := make([]*Correlation, len(rs.relations))
	for i, rel := range rs.relations {
		out[i] = &rel.Correlation
	}
	return out
}

// Observed returns the fields that correlations ask for of the events on which
// the rule fires; nil if no correlation of its RuleSet is over the rule.
func (r *Rule) Observed() []string { return r.observed }

// Silent reports whether the rule is there for correlations only: some are
// over it, and none of them has generate set.
func (r *Rule) Silent() bool { return r.silent }
