// Package pipeline applies processing pipelines, as pySigma defines them, to
// parsed Sigma documents: transformations that adapt rules to the field names,
// values and logsources that one's events have.
package pipeline

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

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/yamldoc"
)

// A Pipeline is a list of transformations with their conditions. It is
// immutable and safe for concurrent use.
type Pipeline struct {
	Name     string
	Priority int // pipelines of lower numbers are applied first
	// Warnings name the parts of the file that have no effect, such as
	// postprocessing, which is about queries.
	Warnings []string

	file  string
	vars  map[string][]string
	items []*processingItem
}

// A processingItem is a transformation and when it is applied.
type processingItem struct {
	ast.Position
	file  string
	id    string // "" if it has none
	kind  string // of the transformation
	rule  conditions[ruleCondition]
	item  conditions[itemCondition]
	field conditions[fieldCondition]
	transformFunc
}

// Parse reads a pipeline; file is the name that errors carry. The error is a
// *ast.ParseError. Unknown transformations, conditions and parameters are
// errors too: ignoring them could change what rules match.
func Parse(file string, data []byte) (*Pipeline, error) {
	var doc yaml.Node
	err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&doc)
	switch {
	case errors.Is(err, io.EOF), err == nil && len(doc.Content) != 1:
		return nil, &ast.ParseError{File: file, Diagnostic: ast.Diagnostic{Reason: "the file holds no pipeline"}}
	case err != nil:
		return nil, yamldoc.SyntaxError(file, err)
	}
	r := newMapReader(doc.Content[0], "a pipeline")
	p := &Pipeline{file: file, vars: make(map[string][]string)}
	p.Name = r.text("name", false)
	if v, ok := r.scalar("priority"); ok {
		if _, err := fmt.Sscan(v.Text, &p.Priority); err != nil {
			r.fail(v.Position, "priority must be a number")
		}
	}
	for _, kv := range r.mapping("vars") {
		p.vars[kv.Name] = r.stringsOf(kv)
	}
	for _, n := range r.sequence("transformations") {
		p.items = append(p.items, readItem(r, file, n))
	}
	for _, key := range []string{"postprocessing", "finalizers"} {
		if kv, ok := r.take(key); ok {
			p.Warnings = append(p.Warnings, yamldoc.PositionOf(kv.Key).Prefix(file)+key+" is about queries and has no effect")
		}
	}
	r.take("allowed_backends") // names of query languages
	r.rejectUnreadKeys()
	if r.err != nil {
		return nil, &ast.ParseError{File: file, Diagnostic: *r.err}
	}
	return p, nil
}

// Join makes one pipeline of several, in the order of their priorities. If
// several set the same variable, the last one wins.
func Join(pipelines ...*Pipeline) *Pipeline {
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

// Apply returns the documents of a collection, transformed. They are copies:
// those given stay as they are. A document that the pipeline fails on is left
// out, with an error. A correlation satisfies a condition on the logsource if
// one of its rules does, and its fields are mapped as those of rules are.
func (p *Pipeline) Apply(c ast.Collection) (ast.Collection, []*ast.DocumentError) {
	var out ast.Collection
	var errs []*ast.DocumentError
	fail := func(kind ast.DocumentKind, m *ast.Meta, d *ast.Diagnostic) {
		d.Line = m.Line
		errs = append(errs, &ast.DocumentError{Kind: kind, Meta: m, Diagnostic: *d})
	}
	for _, r := range c.Rules {
		rule := *r
		rule.Detections = cloneDetections(&r.Detections)
		if err := p.apply(&out, &targetDocument{kind: ast.RuleDocument, meta: &rule.Meta, source: &rule.LogSource, detections: &rule.Detections}); err != nil {
			fail(ast.RuleDocument, &r.Meta, err)
			continue
		}
		out.Rules = append(out.Rules, &rule)
	}
	for _, f := range c.Filters {
		filter := *f
		filter.Detections = cloneDetections(&f.Detections)
		if err := p.apply(&out, &targetDocument{kind: ast.FilterDocument, meta: &filter.Meta, source: &filter.LogSource, detections: &filter.Detections}); err != nil {
			fail(ast.FilterDocument, &f.Meta, err)
			continue
		}
		out.Filters = append(out.Filters, &filter)
	}
	for _, corr := range c.Correlations {
		correlation := *corr
		if err := p.apply(&out, &targetDocument{kind: ast.CorrelationDocument, meta: &correlation.Meta, correlation: &correlation}); err != nil {
			fail(ast.CorrelationDocument, &corr.Meta, err)
			continue
		}
		out.Correlations = append(out.Correlations, &correlation)
	}
	return out, errs
}

// A targetDocument is a document that is being transformed.
type targetDocument struct {
	kind        ast.DocumentKind
	meta        *ast.Meta
	source      *ast.LogSource   // nil for a correlation
	detections  *ast.Detections  // nil for a correlation
	correlation *ast.Correlation // or nil
}

// An applyState is the state of a pipeline while it is applied to one document.
type applyState struct {
	*Pipeline
	*targetDocument
	transformed *ast.Collection            // the documents already transformed
	applied     map[string]bool            // IDs of the transformations that were applied
	state       map[string]ast.Scalar      // of set_state
	attributes  map[string]ast.Scalar      // of set_custom_attribute
	fields      map[string]map[string]bool // by field, the IDs of the transformations that were applied to it
	mapped      map[string]bool            // fields that were mapped, and those that they were mapped to
	added       int                        // searches added by add_condition
}

func (p *Pipeline) apply(transformed *ast.Collection, target *targetDocument) *ast.Diagnostic {
	st := &applyState{
		Pipeline: p, targetDocument: target, transformed: transformed,
		applied: make(map[string]bool), state: make(map[string]ast.Scalar), attributes: make(map[string]ast.Scalar),
		fields: make(map[string]map[string]bool), mapped: make(map[string]bool),
	}
	if err := st.applyItems(p.items); err != nil {
		return err
	}
	if target.detections != nil {
		return finishDetections(target.detections)
	}
	return nil
}

func (st *applyState) applyItems(items []*processingItem) *ast.Diagnostic {
	for _, it := range items {
		if len(it.rule.list) > 0 && !it.rule.evaluate(func(c ruleCondition) bool { return c(st) }) {
			continue
		}
		if it.id != "" {
			st.applied[it.id] = true
		}
		if err := it.transform(st, it); err != nil {
			if err.Hint == "" { // the innermost one gives the hint
				err.Hint = "transformation at " + strings.TrimSuffix(it.Prefix(it.file), ": ")
			}
			return err
		}
	}
	return nil
}
