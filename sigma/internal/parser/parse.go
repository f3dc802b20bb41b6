// Package parser reads Sigma's YAML documents into package ast's types.
package parser

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/suggest"
	"github.com/picket-edr/picket/sigma/internal/yamldoc"
)

// Parse reads every YAML document of data, as package sigma's Parse
// promises.
func Parse(name string, data []byte) (ast.Collection, error) {
	var out ast.Collection
	var errs []error
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for n := 0; ; n++ {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			if n == 0 {
				errs = append(errs, &ast.ParseError{File: name, Diagnostic: ast.Diagnostic{Reason: "the file holds no rule"}})
			}
			break
		}
		if err != nil {
			errs = append(errs, yamldoc.SyntaxError(name, err))
			break
		}
		if len(doc.Content) != 1 || yamldoc.IsNull(doc.Content[0]) {
			continue
		}
		p := &parser{meta: ast.Meta{File: name, Line: doc.Content[0].Line}}
		if err := p.document(doc.Content[0], &out); err != nil {
			errs = append(errs, &ast.ParseError{File: name, Kind: p.kind, Diagnostic: *err})
		}
	}
	if len(errs) == 1 {
		return out, errs[0]
	}
	return out, errors.Join(errs...)
}

// A parser reads one document.
type parser struct {
	yamldoc.Reader
	kind       ast.DocumentKind
	meta       ast.Meta
	source     ast.LogSource
	detections ast.Detections
}

// warn notes a defect that is accepted, under the name of the lint check that
// reports it.
func (p *parser) warn(check string, at ast.Position, format string, args ...any) {
	p.meta.Warnings = append(p.meta.Warnings, ast.Warning{Check: check, Position: at, Reason: fmt.Sprintf(format, args...)})
}

func (p *parser) document(node *yaml.Node, out *ast.Collection) *ast.Diagnostic {
	pairs, err := p.Mapping(node, "a rule")
	if err != nil {
		return err
	}
	byName := make(map[string]yamldoc.Pair, len(pairs))
	for _, kv := range pairs {
		byName[kv.Name] = kv
	}
	p.meta.Keys = yamldoc.Keys(pairs)
	if kv, ok := byName["action"]; ok {
		return yamldoc.ErrorAt(kv.Key, "action documents are not part of Sigma 2").WithHint("write every rule out in full")
	}
	correlationBlock, isCorrelation := byName["correlation"]
	filterBlock, isFilter := byName["filter"]
	switch {
	case isCorrelation:
		p.kind = ast.CorrelationDocument
	case isFilter:
		p.kind = ast.FilterDocument
	}
	if err := p.attributes(node, byName); err != nil {
		return err
	}
	if isCorrelation {
		c, err := p.correlation(correlationBlock.Value, byName)
		if err == nil {
			out.Correlations = append(out.Correlations, c)
		}
		return err
	}
	source, ok := byName["logsource"]
	if !ok {
		return yamldoc.ErrorAt(node, "the %s has no logsource", p.kind).WithHint(p.misspeltKeyHint("logsource"))
	}
	if err := p.logSource(source.Value); err != nil {
		return err
	}
	if isFilter {
		f, err := p.filter(filterBlock.Value, byName)
		if err == nil {
			out.Filters = append(out.Filters, f)
		}
		return err
	}
	block, ok := byName["detection"]
	if !ok {
		return yamldoc.ErrorAt(node, "the rule has no detection").WithHint(p.misspeltKeyHint("detection"))
	}
	if err := p.detection(block.Value); err != nil {
		return err
	}
	out.Rules = append(out.Rules, &ast.Rule{Meta: p.meta, LogSource: p.source, Detections: p.detections})
	return nil
}

// attributes reads what describes the document.
func (p *parser) attributes(node *yaml.Node, byName map[string]yamldoc.Pair) *ast.Diagnostic {
	m := &p.meta
	for name, dst := range map[string]*string{
		"id": &m.ID, "name": &m.Name, "title": &m.Title, "description": &m.Description, "status": &m.Status,
		"author": &m.Author, "date": &m.Date, "modified": &m.Modified, "license": &m.License,
	} {
		kv, ok := byName[name]
		if !ok {
			continue
		}
		if kv.Value.Kind != yaml.ScalarNode {
			return yamldoc.ErrorAt(kv.Value, "%s must be a string", name)
		}
		*dst = yamldoc.ScalarText(kv.Value)
	}
	for name, dst := range map[string]*[]string{
		"references": &m.References, "tags": &m.Tags, "falsepositives": &m.FalsePositives, "fields": &m.Fields,
	} {
		kv, ok := byName[name]
		if !ok {
			continue
		}
		var err *ast.Diagnostic
		if *dst, err = p.Strings(kv.Value, name); err != nil {
			return err
		}
	}
	if kv, ok := byName["related"]; ok {
		m.Related = p.related(kv.Value)
	}
	if strings.TrimSpace(m.Title) == "" {
		return yamldoc.ErrorAt(node, "the %s has no title", p.kind).WithHint(p.misspeltKeyHint("title"))
	}
	kv, ok := byName["level"]
	if !ok || yamldoc.IsNull(kv.Value) {
		if p.kind == ast.RuleDocument {
			m.Level = ast.Medium
			p.warn("missing_level", yamldoc.PositionOf(node), "the rule has no level; medium is taken")
		}
	} else {
		level, err := ast.ParseLevel(kv.Value.Value)
		if err != nil {
			return yamldoc.ErrorAt(kv.Value, "%v", err)
		}
		m.Level = level
	}
	if kv, ok := byName["status"]; ok && !slices.Contains([]string{"stable", "test", "experimental", "deprecated", "unsupported"}, m.Status) {
		p.warn("unknown_status", yamldoc.PositionOf(kv.Key), "unknown status %q", m.Status)
	}
	return nil
}

// related reads the list of related rules. It skips what it cannot read: only
// package lint uses the list.
func (p *parser) related(node *yaml.Node) []ast.RelatedRule {
	var out []ast.RelatedRule
	if node.Kind != yaml.SequenceNode {
		return nil
	}
	for _, n := range node.Content {
		pairs, err := p.Mapping(n, "an entry of related")
		if err != nil {
			continue
		}
		r := ast.RelatedRule{Position: yamldoc.PositionOf(n)}
		for _, kv := range pairs {
			switch kv.Name {
			case "id":
				r.ID = yamldoc.ScalarText(kv.Value)
			case "type":
				r.Type = yamldoc.ScalarText(kv.Value)
			}
		}
		out = append(out, r)
	}
	return out
}

// DocumentKeys are the keys of documents that have a meaning.
var DocumentKeys = []string{
	"id", "name", "title", "taxonomy", "related", "status", "description", "license", "author", "references",
	"date", "modified", "logsource", "detection", "fields", "falsepositives", "level", "tags", "scope",
	"correlation", "filter", "generate",
	"expires", // of filters; picket's own
}

// misspeltKeyHint returns a hint if one of the document's keys looks like a
// misspelling of key, "" otherwise.
func (p *parser) misspeltKeyHint(key string) string {
	for _, k := range p.meta.Keys {
		if !slices.Contains(DocumentKeys, k.Text) && suggest.Similar(k.Text, key) {
			return "write " + key + " for " + k.Text
		}
	}
	return ""
}

func (p *parser) logSource(node *yaml.Node) *ast.Diagnostic {
	pairs, err := p.Mapping(node, "logsource")
	if err != nil {
		return err
	}
	l := &p.source
	p.meta.LogSourceKeys = yamldoc.Keys(pairs)
	for _, kv := range pairs {
		var dst *string
		switch kv.Name {
		case "product":
			dst = &l.Product
		case "category":
			dst = &l.Category
		case "service":
			dst = &l.Service
		default:
			continue // such as "definition", which is for people
		}
		if kv.Value.Kind != yaml.ScalarNode {
			return yamldoc.ErrorAt(kv.Value, "the %s of a logsource must be a string", kv.Name)
		}
		*dst = strings.TrimSpace(yamldoc.ScalarText(kv.Value))
	}
	if *l == (ast.LogSource{}) {
		return yamldoc.ErrorAt(node, "the logsource is empty").WithHint("give a product, a category or a service")
	}
	return nil
}
