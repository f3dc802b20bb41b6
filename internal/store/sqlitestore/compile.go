package sqlitestore

import (
	"bytes"
	"cmp"
	"regexp/syntax"
	"slices"

	"github.com/picket-edr/picket/internal/store"
)

func compileNode(x store.Expr) *queryNode {
	n := &queryNode{expr: x, hitsFrame: -1}
	switch x := x.(type) {
	case nil:
		n.op = opAll
	case store.And:
		n.op, n.children = opAnd, compileNodes(x)
		slices.SortStableFunc(n.children, func(a, b *queryNode) int { return cmp.Compare(a.cost(), b.cost()) })
	case store.Or:
		n.op, n.children = opOr, compileNodes(x)
	case store.Not:
		n.op, n.children = opNot, []*queryNode{compileNode(x.X)}
	case *store.TextTerm:
		n.op = opText
		n.setLiterals([][]byte{x.Folded()})
	case *store.PatternTerm:
		n.op, n.field, n.match = opField, x.Field, x.Pattern.Match
		var lits [][]byte
		for _, l := range x.Pattern.Literals() {
			lits = append(lits, []byte(l))
		}
		n.setLiterals(lits)
	case *store.RegexpTerm:
		n.op, n.field, n.match = opField, x.Field, x.Re.MatchString
		if re, err := syntax.Parse(x.Re.String(), syntax.Perl); err == nil {
			n.setLiterals(requiredLiterals(re.Simplify(), nil))
		}
	}
	return n
}

func compileNodes(xs []store.Expr) []*queryNode {
	out := make([]*queryNode, len(xs))
	for i, x := range xs {
		out[i] = compileNode(x)
	}
	return out
}

// cost orders the members of a conjunction: what can rule a block out cheaply
// comes first.
func (n *queryNode) cost() int {
	switch n.op {
	case opField:
		return 0
	case opText:
		return 1
	}
	return 2
}

func (n *queryNode) setLiterals(lits [][]byte) {
	n.literals = lits
	for _, l := range lits {
		n.trigrams = append(n.trigrams, requiredTrigrams(l)...)
		for _, run := range bytes.FieldsFunc(l, hasSeveralEncodings) {
			if f := escapeBackslashes(run); len(f) > len(n.jsonLiteral) {
				n.jsonLiteral = f
				n.literalIsWhole = len(run) == len(l)
			}
		}
	}
}

// requiredLiterals appends texts that whatever re matches contains, folded.
func requiredLiterals(re *syntax.Regexp, out [][]byte) [][]byte {
	switch re.Op {
	case syntax.OpLiteral:
		return append(out, store.AppendFold(nil, string(re.Rune)))
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

// hasSeveralEncodings reports whether a character of folded text has more than one way to
// stand in JSON that is not exotic: quotes and line ends also stand between
// strings, and what is beyond ASCII is not folded there.
func hasSeveralEncodings(r rune) bool { return r < 0x20 || r >= 0x80 || r == '"' }

// escapeBackslashes returns folded text without such characters as JSON writes it.
func escapeBackslashes(text []byte) []byte { return bytes.ReplaceAll(text, []byte(`\`), []byte(`\\`)) }
