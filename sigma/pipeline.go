package sigma

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A Pipeline is a processing pipeline as pySigma reads them: transformations
// that make rules fit the field names, values and logsources of one's events.
// It is immutable and safe for concurrent use.
type Pipeline struct {
	Name     string
	Priority int // pipelines of lower numbers go first
	// Warnings are what ParsePipeline passed over, such as postprocessing,
	// which is about queries.
	Warnings []string

	file  string
	vars  map[string][]string
	items []*processingItem
}

// A processingItem is a transformation and when it is applied.
type processingItem struct {
	place
	file  string
	id    string // "" without
	kind  string // of the transformation
	rule  conditions[ruleCondition]
	item  conditions[itemCondition]
	field conditions[fieldCondition]
	transformation
}

// ParsePipeline reads a pipeline; file is the name that errors carry. The
// error is a *ParseError: of unknown transformations, conditions and
// parameters too, for what is not understood can't be left out.
func ParsePipeline(file string, data []byte) (*Pipeline, error) {
	fail := func(err *lineError) error {
		return &ParseError{File: file, Line: err.line, Column: err.column, Reason: err.reason, Hint: err.hint}
	}
	var doc yaml.Node
	err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&doc)
	switch {
	case errors.Is(err, io.EOF), err == nil && len(doc.Content) != 1:
		return nil, &ParseError{File: file, Reason: "the file holds no pipeline"}
	case err != nil:
		return nil, yamlError(file, err)
	}
	s := newSpec(&parser{}, doc.Content[0], "a pipeline")
	p := &Pipeline{file: file, vars: make(map[string][]string)}
	p.Name = s.text("name", false)
	if v, ok := s.value("priority"); ok {
		if _, err := fmt.Sscan(v.text, &p.Priority); err != nil {
			s.fail(v.place, "priority must be a number")
		}
	}
	for _, kv := range s.pairs("vars") {
		p.vars[kv.name] = s.textsOf(kv)
	}
	for _, n := range s.nodes("transformations") {
		p.items = append(p.items, readItem(s, file, n))
	}
	for _, key := range []string{"postprocessing", "finalizers"} {
		if kv, ok := s.take(key); ok {
			p.Warnings = append(p.Warnings, fmt.Sprintf("%s%s is about queries and has no effect", position(file, kv.key.Line, kv.key.Column), key))
		}
	}
	s.take("allowed_backends") // names of query languages
	s.end()
	if s.err != nil {
		return nil, fail(s.err)
	}
	return p, nil
}

// JoinPipelines makes one pipeline of several, in order of their priorities.
// Of variables that several have, the last counts.
func JoinPipelines(pipelines ...*Pipeline) *Pipeline {
	sorted := slices.Clone(pipelines)
	slices.SortStableFunc(sorted, func(a, b *Pipeline) int { return cmp.Compare(a.Priority, b.Priority) })
	all := &Pipeline{vars: make(map[string][]string)}
	var names []string
	for _, p := range sorted {
		names = append(names, cmp.Or(p.Name, p.file))
		all.Warnings = append(all.Warnings, p.Warnings...)
		all.items = append(all.items, p.items...)
		maps.Copy(all.vars, p.vars)
	}
	all.Name = strings.Join(names, ", ")
	return all
}

// Apply returns the pack as the pipeline makes it. The documents are copies,
// those given stay as they are; those that the pipeline fails on are left out,
// each with a *CompileError. A correlation meets conditions on logsources if
// one of its rules does, and its fields are mapped as those of rules are.
func (p *Pipeline) Apply(pack Pack) (Pack, []error) {
	var out Pack
	var errs []error
	fail := func(kind Document, m *Meta, err *lineError) {
		errs = append(errs, &CompileError{Document: kind, Meta: m, Line: m.Line, Reason: err.reason, Hint: err.hint})
	}
	for _, r := range pack.Rules {
		c := *r
		c.search = r.search.clone()
		if err := p.run(&out, &subject{kind: RuleDocument, meta: &c.Meta, source: &c.LogSource, search: &c.search}); err != nil {
			fail(RuleDocument, &r.Meta, err)
			continue
		}
		out.Rules = append(out.Rules, &c)
	}
	for _, f := range pack.Filters {
		c := *f
		c.search = f.search.clone()
		if err := p.run(&out, &subject{kind: FilterDocument, meta: &c.Meta, source: &c.LogSource, search: &c.search}); err != nil {
			fail(FilterDocument, &f.Meta, err)
			continue
		}
		out.Filters = append(out.Filters, &c)
	}
	for _, corr := range pack.Correlations {
		c := *corr
		if err := p.run(&out, &subject{kind: CorrelationDocument, meta: &c.Meta, corr: &c}); err != nil {
			fail(CorrelationDocument, &corr.Meta, err)
			continue
		}
		out.Correlations = append(out.Correlations, &c)
	}
	return out, errs
}

// A subject is a document on its way through a pipeline.
type subject struct {
	kind    Document
	meta    *Meta
	source  *LogSource   // nil of correlations
	search  *search      // nil of correlations
	corr    *Correlation // or nil
	applied map[string]bool
	custom  map[string]scalar // attributes that transformations set
}

// A pipelineRun is one document's way through a pipeline.
type pipelineRun struct {
	*Pipeline
	*subject
	done   *Pack // what has been through before
	state  map[string]scalar
	fields map[string]map[string]bool // the transformations that were applied to a field
	mapped map[string]bool            // fields that were mapped, and what to
	added  int
}

func (p *Pipeline) run(done *Pack, s *subject) *lineError {
	s.applied, s.custom = make(map[string]bool), make(map[string]scalar)
	r := &pipelineRun{Pipeline: p, subject: s, done: done, state: make(map[string]scalar), fields: make(map[string]map[string]bool), mapped: make(map[string]bool)}
	if err := r.apply(p.items); err != nil {
		return err
	}
	if s.search != nil {
		return s.search.finish()
	}
	return nil
}

func (r *pipelineRun) apply(items []*processingItem) *lineError {
	for _, it := range items {
		if len(it.rule.list) > 0 && !it.rule.hold(func(c ruleCondition) bool { return c(r) }) {
			continue
		}
		if it.id != "" {
			r.applied[it.id] = true
		}
		if err := it.transform(r, it); err != nil {
			if err.hint == "" { // of the innermost, where they are nested
				err.hint = "transformation at " + strings.TrimSuffix(position(it.file, it.line, it.column), ": ")
			}
			return err
		}
	}
	return nil
}
