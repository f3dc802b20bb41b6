package sigma

import (
	"maps"
	"regexp"
	"slices"

	"go.yaml.in/yaml/v3"
)

// A spec is a mapping of a pipeline file that is read key by key. The first
// thing wrong is kept in err, of which specs within have the same.
type spec struct {
	*parser
	node  *yaml.Node
	known []string // keys that were asked for
	byKey map[string]pair
	what  string
	*specError
}

type specError struct{ err *lineError }

func newSpec(p *parser, node *yaml.Node, what string) *spec {
	return within(p, node, what, &specError{})
}

func within(p *parser, node *yaml.Node, what string, e *specError) *spec {
	s := &spec{parser: p, node: node, byKey: make(map[string]pair), what: what, specError: e}
	pairs, err := p.mapping(node, what)
	s.note(err)
	for _, kv := range pairs {
		s.byKey[kv.name] = kv
	}
	return s
}

func (s *spec) note(err *lineError) {
	if s.err == nil {
		s.err = err
	}
}

func (s *spec) fail(p place, format string, args ...any) { s.note(errorAt(p, format, args...)) }

// take returns an entry, which then counts as known.
func (s *spec) take(key string) (pair, bool) {
	s.known = append(s.known, key)
	kv, ok := s.byKey[key]
	return kv, ok
}

// value returns a scalar.
func (s *spec) value(key string) (scalar, bool) {
	kv, ok := s.take(key)
	if !ok {
		return scalar{}, false
	}
	if kv.value.Kind != yaml.ScalarNode {
		s.fail(placeOf(kv.value), "%s must be one value", key)
		return scalar{}, false
	}
	return newScalar(kv.value), true
}

func (s *spec) text(key string, needed bool) string {
	v, ok := s.value(key)
	if !ok && needed {
		s.fail(placeOf(s.node), "%s lacks %s", s.what, key)
	}
	return v.text
}

// one returns one of several words, by default the first.
func (s *spec) one(key string, words ...string) string {
	v, ok := s.value(key)
	if !ok {
		return words[0]
	}
	if !slices.Contains(words, v.text) {
		s.note(errorAt(v.place, "%s can't be %q", key, v.text).withHint(didYouMean(v.text, words, "")))
	}
	return v.text
}

func (s *spec) flag(key string) bool {
	v, ok := s.value(key)
	if ok && v.kind != Bool {
		s.fail(v.place, "%s must be true or false", key)
	}
	return v.text == "true"
}

// regex returns a regular expression; with match, it is anchored at the
// beginning, as match of Python is.
func (s *spec) regex(key string, match bool) *regexp.Regexp {
	v, _ := s.value(key)
	return s.compile(v.text, v.place, match)
}

func (s *spec) compile(source string, p place, match bool) *regexp.Regexp {
	if match {
		source = `^(?:` + source + `)`
	}
	re, err := regexp.Compile(source)
	if err != nil {
		s.note(errorAt(p, "%v", err).withHint("expressions are Go's, without lookaround and backreferences"))
		return regexp.MustCompile("")
	}
	return re
}

// texts returns a text or a list of them.
func (s *spec) list(key string) []string {
	kv, ok := s.take(key)
	if !ok {
		return nil
	}
	return s.textsOf(kv)
}

func (s *spec) textsOf(kv pair) []string {
	out, err := s.texts(kv.value, kv.name)
	s.note(err)
	return out
}

// pairs returns the entries of a mapping.
func (s *spec) pairs(key string) []pair {
	kv, ok := s.take(key)
	if !ok || isNull(kv.value) {
		return nil
	}
	pairs, err := s.mapping(kv.value, key)
	s.note(err)
	return pairs
}

// nodes returns the members of a list.
func (s *spec) nodes(key string) []*yaml.Node {
	kv, ok := s.take(key)
	switch {
	case !ok || isNull(kv.value):
		return nil
	case kv.value.Kind != yaml.SequenceNode:
		s.fail(placeOf(kv.value), "%s must be a list", key)
		return nil
	}
	return kv.value.Content
}

// end refuses what nobody asked for.
func (s *spec) end() {
	for _, key := range slices.Sorted(maps.Keys(s.byKey)) {
		if !slices.Contains(s.known, key) {
			s.note(errorAt(placeOf(s.byKey[key].key), "%s has no %q", s.what, key).withHint(didYouMean(key, s.known, "")))
		}
	}
}

// A fieldMap maps a field to others; the field of keywords is the one key that
// is null.
type fieldMap struct {
	fields  map[string][]string
	order   []string // of the keys
	keyword []string // or nil
}

// fieldMap reads the parameter mapping.
func (s *spec) fieldMap() fieldMap {
	m := fieldMap{fields: make(map[string][]string)}
	for _, kv := range s.pairs("mapping") {
		to := s.textsOf(kv)
		if to == nil && isNull(kv.value) {
			continue
		}
		if isNull(kv.key) {
			m.keyword = to
			continue
		}
		m.fields[kv.name], m.order = to, append(m.order, kv.name)
	}
	return m
}

// readItem reads one transformation.
func readItem(outer *spec, file string, node *yaml.Node) *processingItem {
	s := within(outer.parser, node, "a transformation", outer.specError)
	it := &processingItem{place: placeOf(node), file: file, id: s.text("id", false)}
	it.kind = s.text("type", true)
	it.rule = readConditions(s, "rule", readRuleCondition)
	it.item = readConditions(s, "detection_item", readItemCondition)
	it.field = readConditions(s, "field_name", readFieldCondition)
	make, ok := transformations()[it.kind]
	if !ok {
		if s.err == nil {
			kv := s.byKey["type"]
			s.note(at(kv.value, "unknown transformation %q", it.kind).withHint(didYouMean(it.kind, slices.Sorted(maps.Keys(transformations())), "")))
		}
		return it
	}
	s.what = it.kind
	it.transformation = make(s, file)
	s.end()
	return it
}
