package block

import (
	"bytes"
	"cmp"
	"regexp/syntax"
	"slices"

	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma/casefold"
)

// A Query is what a Searcher searches for. It is for one goroutine.
type Query struct {
	// OnlyFields is as in store.EventQuery.
	OnlyFields []string

	root         *queryNode
	since, until int64 // event times: from since, before until
	beforeSeq    int64
}

// NewQuery returns the query for the events that an expression selects (nil:
// all), whose time is from since up to but not including until, and whose
// sequence number is below beforeSeq.
func NewQuery(where store.Expr, since, until, beforeSeq int64) *Query {
	return &Query{root: newQueryNode(where), since: since, until: until, beforeSeq: beforeSeq}
}

// A queryNode is an expression, with what is known about it in the block being
// searched: the rows that match for certain (definite) and those that can match
// (candidates, which include the definite ones). For the rows in between,
// Searcher.matches reads the events.
type queryNode struct {
	op       op
	children []*queryNode
	expr     store.Expr // for opText and opField
	field    string
	match    func(string) bool // of a value of the field

	// literals are texts that every match contains, folded; trigrams are theirs.
	literals [][]byte
	trigrams []uint32
	// jsonLiteral is the longest part of a literal that canonical JSON can write
	// in only one way, as JSON writes it; literalIsWhole says that it is a whole
	// literal.
	jsonLiteral    []byte
	literalIsWhole bool

	definite, candidates bitset
	filteredByText       bool   // candidates come from the literals, as there is no column
	hitsFrame            int    // the frame that hits is for, -1 none
	hits                 bitset // rows of that frame whose bytes contain jsonLiteral
}

type op uint8

const (
	opAll op = iota // every event
	opAnd
	opOr
	opNot
	opText
	opField
)

func newQueryNode(x store.Expr) *queryNode {
	n := &queryNode{expr: x, hitsFrame: -1}
	switch x := x.(type) {
	case nil:
		n.op = opAll
	case store.And:
		n.op, n.children = opAnd, newQueryNodes(x)
		slices.SortStableFunc(n.children, func(a, b *queryNode) int { return cmp.Compare(a.estimatedCost(), b.estimatedCost()) })
	case store.Or:
		n.op, n.children = opOr, newQueryNodes(x)
	case store.Not:
		n.op, n.children = opNot, []*queryNode{newQueryNode(x.X)}
	case *store.TextTerm:
		n.op = opText
		n.setLiterals([][]byte{x.Folded()})
	case *store.PatternTerm:
		n.op, n.field, n.match = opField, x.Field, x.Pattern.Match
		var literals [][]byte
		for _, l := range x.Pattern.Literals() {
			literals = append(literals, []byte(l))
		}
		n.setLiterals(literals)
	case *store.RegexpTerm:
		n.op, n.field, n.match = opField, x.Field, x.MatchValue
		if re, err := syntax.Parse(x.Re.String(), syntax.Perl); err == nil {
			n.setLiterals(requiredLiterals(re.Simplify(), nil))
		}
	}
	return n
}

func newQueryNodes(xs []store.Expr) []*queryNode {
	out := make([]*queryNode, len(xs))
	for i, x := range xs {
		out[i] = newQueryNode(x)
	}
	return out
}

// estimatedCost orders the members of a conjunction: those that can rule out a block
// cheaply are evaluated first.
func (n *queryNode) estimatedCost() int {
	switch n.op {
	case opField:
		return 0
	case opText:
		return 1
	}
	return 2
}

func (n *queryNode) setLiterals(literals [][]byte) {
	n.literals = literals
	for _, l := range literals {
		n.trigrams = append(n.trigrams, requiredTrigrams(l)...)
		for _, part := range bytes.FieldsFunc(l, hasSeveralEncodings) {
			if json := escapeBackslashes(part); len(json) > len(n.jsonLiteral) {
				n.jsonLiteral = json
				n.literalIsWhole = len(part) == len(l)
			}
		}
	}
}

// requiredLiterals appends texts that everything matched by re contains, folded.
func requiredLiterals(re *syntax.Regexp, out [][]byte) [][]byte {
	switch re.Op {
	case syntax.OpLiteral:
		return append(out, []byte(casefold.String(string(re.Rune))))
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			out = requiredLiterals(sub, out)
		}
	case syntax.OpCapture, syntax.OpPlus:
		return requiredLiterals(re.Sub[0], out)
	case syntax.OpRepeat:
		if re.Min > 0 {
			return requiredLiterals(re.Sub[0], out)
		}
	}
	return out
}

// hasSeveralEncodings reports whether canonical JSON can write a character of
// folded text in more than one way: quotes and line ends also occur between
// strings, and characters beyond ASCII are not folded in the events.
func hasSeveralEncodings(r rune) bool { return r < 0x20 || r >= 0x80 || r == '"' }

// escapeBackslashes returns text without such characters as JSON writes it.
func escapeBackslashes(text []byte) []byte { return bytes.ReplaceAll(text, []byte(`\`), []byte(`\\`)) }
