package sigma

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A Pack is what rule files hold. The order of rules is that of the files.
type Pack struct {
	Rules        []*Rule
	Correlations []*Correlation
	Filters      []*Filter
}

// Add appends what other holds.
func (p *Pack) Add(other Pack) {
	p.Rules = append(p.Rules, other.Rules...)
	p.Correlations = append(p.Correlations, other.Correlations...)
	p.Filters = append(p.Filters, other.Filters...)
}

// Parse reads every YAML document of data; name is the file name that errors
// and documents carry. What is good is returned even when the rest is not. The
// error is a *ParseError, or several joined by errors.Join when several
// documents are bad; YAML that can't be read ends the file.
//
// Parse checks the structure, the names of the modifiers and the conditions.
// Whether values fit their modifiers, and whether the rules that a correlation
// or filter names are there, is for Compile to find.
func Parse(name string, data []byte) (Pack, error) {
	var pack Pack
	var errs []error
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for n := 0; ; n++ {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			if n == 0 {
				errs = append(errs, &ParseError{File: name, Reason: "the file holds no rule"})
			}
			break
		}
		if err != nil {
			errs = append(errs, yamlError(name, err))
			break
		}
		if len(doc.Content) != 1 || isNull(doc.Content[0]) {
			continue
		}
		if err := pack.read(name, doc.Content[0]); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 1 {
		return pack, errs[0]
	}
	return pack, errors.Join(errs...)
}

// yamlError takes the line out of the message of the YAML package.
func yamlError(name string, err error) *ParseError {
	reason := strings.TrimPrefix(err.Error(), "yaml: ")
	pe := &ParseError{File: name, Reason: "invalid YAML: " + reason}
	if strings.Contains(reason, "unknown escape") {
		pe.Hint = "in double quotes, a backslash begins an escape of YAML; write single quotes"
	}
	if rest, ok := strings.CutPrefix(reason, "line "); ok {
		if number, why, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(number); err == nil {
				pe.Line, pe.Reason = line, "invalid YAML: "+why
			}
		}
	}
	return pe
}

// read adds one document.
func (pack *Pack) read(name string, node *yaml.Node) error {
	p := &parser{meta: Meta{File: name, Line: node.Line}}
	err := p.document(node, pack)
	if err == nil {
		return nil
	}
	return &ParseError{File: name, Line: err.line, Column: err.column, Document: p.kind, Reason: err.reason, Hint: err.hint}
}

// maxNodes bounds the YAML nodes of a document, aliases counted as often as
// they are used.
const maxNodes = 1 << 19

// A parser reads one document.
type parser struct {
	kind   Document
	meta   Meta
	source LogSource
	search search
	nodes  int
	depth  int // of transformations within transformations
}

// warn notes what is doubtful; check is the name that Lint reports it under.
func (p *parser) warn(check string, at place, format string, args ...any) {
	w := warning{check, at, fmt.Sprintf(format, args...)}
	p.meta.doubts = append(p.meta.doubts, w)
	p.meta.Warnings = append(p.meta.Warnings, fmt.Sprintf("line %d: %s", at.line, w.reason))
}

func (p *parser) document(node *yaml.Node, pack *Pack) *lineError {
	pairs, err := p.mapping(node, "a rule")
	if err != nil {
		return err
	}
	byName := make(map[string]pair, len(pairs))
	for _, kv := range pairs {
		byName[kv.name] = kv
	}
	p.meta.keys = placesOf(pairs)
	if kv, ok := byName["action"]; ok {
		return at(kv.key, "action documents are not part of Sigma 2").withHint("write every rule out in full")
	}
	correlation, isCorrelation := byName["correlation"]
	filter, isFilter := byName["filter"]
	switch {
	case isCorrelation:
		p.kind = CorrelationDocument
	case isFilter:
		p.kind = FilterDocument
	}
	if err := p.head(node, byName); err != nil {
		return err
	}
	if isCorrelation {
		c, err := p.correlation(correlation.value, byName)
		if err == nil {
			pack.Correlations = append(pack.Correlations, c)
		}
		return err
	}
	source, ok := byName["logsource"]
	if !ok {
		return at(node, "the %s has no logsource", p.kind).withHint(p.misspelt("logsource"))
	}
	if err := p.logSource(source.value); err != nil {
		return err
	}
	if isFilter {
		f, err := p.filter(filter.value)
		if err == nil {
			pack.Filters = append(pack.Filters, f)
		}
		return err
	}
	det, ok := byName["detection"]
	if !ok {
		return at(node, "the rule has no detection").withHint(p.misspelt("detection"))
	}
	if err := p.detection(det.value); err != nil {
		return err
	}
	pack.Rules = append(pack.Rules, &Rule{Meta: p.meta, LogSource: p.source, search: p.search})
	return nil
}

// head reads the fields that say what the rule is.
func (p *parser) head(node *yaml.Node, byName map[string]pair) *lineError {
	r := &p.meta
	for name, dst := range map[string]*string{
		"id": &r.ID, "name": &r.Name, "title": &r.Title, "description": &r.Description, "status": &r.Status,
		"author": &r.Author, "date": &r.Date, "modified": &r.Modified, "license": &r.License,
	} {
		kv, ok := byName[name]
		if !ok {
			continue
		}
		if kv.value.Kind != yaml.ScalarNode {
			return at(kv.value, "%s must be a text", name)
		}
		*dst = text(kv.value)
	}
	for name, dst := range map[string]*[]string{
		"references": &r.References, "tags": &r.Tags, "falsepositives": &r.FalsePositives, "fields": &r.Fields,
	} {
		kv, ok := byName[name]
		if !ok {
			continue
		}
		var err *lineError
		if *dst, err = p.texts(kv.value, name); err != nil {
			return err
		}
	}
	if kv, ok := byName["related"]; ok {
		r.related = p.related(kv.value)
	}
	if strings.TrimSpace(r.Title) == "" {
		return at(node, "the %s has no title", p.kind).withHint(p.misspelt("title"))
	}
	kv, ok := byName["level"]
	if !ok || isNull(kv.value) {
		if p.kind == RuleDocument {
			r.Level = Medium
			p.warn("missing_level", placeOf(node), "the rule has no level; medium is taken")
		}
	} else {
		level, err := ParseLevel(kv.value.Value)
		if err != nil {
			return at(kv.value, "%v", err)
		}
		r.Level = level
	}
	if kv, ok := byName["status"]; ok && !slices.Contains([]string{"stable", "test", "experimental", "deprecated", "unsupported"}, r.Status) {
		p.warn("unknown_status", placeOf(kv.key), "unknown status %q", r.Status)
	}
	return nil
}

func (p *parser) texts(node *yaml.Node, name string) ([]string, *lineError) {
	node, err := p.resolve(node)
	if err != nil {
		return nil, err
	}
	switch {
	case isNull(node):
		return nil, nil
	case node.Kind == yaml.ScalarNode:
		return []string{node.Value}, nil
	case node.Kind != yaml.SequenceNode:
		return nil, at(node, "%s must be a list of texts", name)
	}
	var out []string
	for _, n := range node.Content {
		n, err := p.resolve(n)
		if err != nil {
			return nil, err
		}
		if n.Kind != yaml.ScalarNode {
			return nil, at(n, "%s must be a list of texts", name)
		}
		out = append(out, text(n))
	}
	return out, nil
}

func (p *parser) logSource(node *yaml.Node) *lineError {
	pairs, err := p.mapping(node, "logsource")
	if err != nil {
		return err
	}
	l := &p.source
	p.meta.sourceKeys = placesOf(pairs)
	for _, kv := range pairs {
		var dst *string
		switch kv.name {
		case "product":
			dst = &l.Product
		case "category":
			dst = &l.Category
		case "service":
			dst = &l.Service
		default:
			continue // such as "definition", which is for people
		}
		if kv.value.Kind != yaml.ScalarNode {
			return at(kv.value, "the %s of a logsource must be a text", kv.name)
		}
		*dst = strings.TrimSpace(text(kv.value))
	}
	if *l == (LogSource{}) {
		return at(node, "the logsource is empty").withHint("give a product, a category or a service")
	}
	return nil
}
