package pipeline

import (
	"maps"
	"regexp"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/picket-edr/picket/sigma/ast"
	"github.com/picket-edr/picket/sigma/internal/suggest"
	"github.com/picket-edr/picket/sigma/internal/yamldoc"
)

// A mapReader reads a mapping of a pipeline file key by key. It keeps the first
// error, which it shares with the readers of inner mappings.
type mapReader struct {
	*yamldoc.Reader
	node  *yaml.Node
	what  string // the mapping, in errors
	byKey map[string]yamldoc.Pair
	known []string // keys that were read
	*readerState
}

// A readerState is shared by all readers of a file.
type readerState struct {
	err   *ast.Diagnostic
	depth int // of nested transformations
}

func newMapReader(node *yaml.Node, what string) *mapReader {
	outer := &mapReader{Reader: new(yamldoc.Reader), readerState: new(readerState)}
	return outer.innerReader(node, what)
}

// innerReader returns a reader of a mapping within the one that r reads.
func (r *mapReader) innerReader(node *yaml.Node, what string) *mapReader {
	in := &mapReader{Reader: r.Reader, node: node, what: what, byKey: make(map[string]yamldoc.Pair), readerState: r.readerState}
	pairs, err := in.Mapping(node, what)
	in.recordError(err)
	for _, kv := range pairs {
		in.byKey[kv.Name] = kv
	}
	return in
}

// recordError keeps an error, unless there is one already.
func (r *mapReader) recordError(err *ast.Diagnostic) {
	if r.err == nil {
		r.err = err
	}
}

func (r *mapReader) fail(p ast.Position, format string, args ...any) {
	r.recordError(ast.ErrorAt(p, format, args...))
}

// take returns an entry, whose key is known from then on.
func (r *mapReader) take(key string) (yamldoc.Pair, bool) {
	r.known = append(r.known, key)
	kv, ok := r.byKey[key]
	return kv, ok
}

func (r *mapReader) scalar(key string) (ast.Scalar, bool) {
	kv, ok := r.take(key)
	if !ok {
		return ast.Scalar{}, false
	}
	if kv.Value.Kind != yaml.ScalarNode {
		r.fail(yamldoc.PositionOf(kv.Value), "%s must be one value", key)
		return ast.Scalar{}, false
	}
	return yamldoc.NewScalar(kv.Value), true
}

func (r *mapReader) text(key string, required bool) string {
	v, ok := r.scalar(key)
	if !ok && required {
		r.fail(yamldoc.PositionOf(r.node), "%s lacks %s", r.what, key)
	}
	return v.Text
}

// oneOf returns one of several words, by default the first.
func (r *mapReader) oneOf(key string, words ...string) string {
	v, ok := r.scalar(key)
	if !ok {
		return words[0]
	}
	if !slices.Contains(words, v.Text) {
		r.recordError(ast.ErrorAt(v.Position, "%s can't be %q", key, v.Text).WithHint(suggest.DidYouMean(v.Text, words, "")))
	}
	return v.Text
}

func (r *mapReader) flag(key string) bool {
	v, ok := r.scalar(key)
	if ok && v.Kind != ast.Bool {
		r.fail(v.Position, "%s must be true or false", key)
	}
	return v.Text == "true"
}

// regex reads a regular expression. If anchorStart is set, it is anchored at the
// start, as Python's match is.
func (r *mapReader) regex(key string, anchorStart bool) *regexp.Regexp {
	v, _ := r.scalar(key)
	return r.compileRegexp(v.Text, v.Position, anchorStart)
}

func (r *mapReader) compileRegexp(source string, p ast.Position, anchorStart bool) *regexp.Regexp {
	if anchorStart {
		source = `^(?:` + source + `)`
	}
	re, err := regexp.Compile(source)
	if err != nil {
		r.recordError(ast.ErrorAt(p, "%v", err).WithHint("regular expressions are Go's, without lookaround and backreferences"))
		return regexp.MustCompile("")
	}
	return re
}

// strings reads a list of strings, or a string as a list of one.
func (r *mapReader) strings(key string) []string {
	kv, ok := r.take(key)
	if !ok {
		return nil
	}
	return r.stringsOf(kv)
}

func (r *mapReader) stringsOf(kv yamldoc.Pair) []string {
	out, err := r.Strings(kv.Value, kv.Name)
	r.recordError(err)
	return out
}

// mapping reads the entries of a mapping.
func (r *mapReader) mapping(key string) []yamldoc.Pair {
	kv, ok := r.take(key)
	if !ok || yamldoc.IsNull(kv.Value) {
		return nil
	}
	pairs, err := r.Mapping(kv.Value, key)
	r.recordError(err)
	return pairs
}

// sequence reads the elements of a list.
func (r *mapReader) sequence(key string) []*yaml.Node {
	kv, ok := r.take(key)
	switch {
	case !ok || yamldoc.IsNull(kv.Value):
		return nil
	case kv.Value.Kind != yaml.SequenceNode:
		r.fail(yamldoc.PositionOf(kv.Value), "%s must be a list", key)
		return nil
	}
	return kv.Value.Content
}

// rejectUnreadKeys rejects keys that were not read.
func (r *mapReader) rejectUnreadKeys() {
	for _, key := range slices.Sorted(maps.Keys(r.byKey)) {
		if !slices.Contains(r.known, key) {
			r.recordError(ast.ErrorAt(yamldoc.PositionOf(r.byKey[key].Key), "%s has no %q", r.what, key).WithHint(suggest.DidYouMean(key, r.known, "")))
		}
	}
}

// A fieldMap maps fields to lists of fields. The field of keywords is written
// as the key null.
type fieldMap struct {
	fields  map[string][]string
	order   []string // the keys in order
	keyword []string // or nil
}

// fieldMap reads the parameter mapping.
func (r *mapReader) fieldMap() fieldMap {
	m := fieldMap{fields: make(map[string][]string)}
	for _, kv := range r.mapping("mapping") {
		to := r.stringsOf(kv)
		if to == nil && yamldoc.IsNull(kv.Value) {
			continue
		}
		if yamldoc.IsNull(kv.Key) {
			m.keyword = to
			continue
		}
		m.fields[kv.Name], m.order = to, append(m.order, kv.Name)
	}
	return m
}

// readItem reads one transformation with its conditions.
func readItem(outer *mapReader, file string, node *yaml.Node) *processingItem {
	r := outer.innerReader(node, "a transformation")
	it := &processingItem{Position: yamldoc.PositionOf(node), file: file, id: r.text("id", false)}
	it.kind = r.text("type", true)
	it.rule = readConditions(r, "rule", readRuleCondition)
	it.item = readConditions(r, "detection_item", readItemCondition)
	it.field = readConditions(r, "field_name", readFieldCondition)
	read, ok := transformations()[it.kind]
	if !ok {
		if r.err == nil {
			kv := r.byKey["type"]
			r.recordError(yamldoc.ErrorAt(kv.Value, "unknown transformation %q", it.kind).WithHint(suggest.DidYouMean(it.kind, slices.Sorted(maps.Keys(transformations())), "")))
		}
		return it
	}
	r.what = it.kind
	it.transformFunc = read(r, file)
	r.rejectUnreadKeys()
	return it
}
