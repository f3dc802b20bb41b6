package sqlitestore

import (
	"bytes"
	"cmp"
	"regexp/syntax"
	"slices"

	"github.com/picket-edr/picket/internal/store"
)

func compile(x store.Expr) *node {
	n := &node{expr: x, frame: -1}
	switch x := x.(type) {
	case nil:
		n.op = opAll
	case store.And:
		n.op, n.kids = opAnd, compileAll(x)
		slices.SortStableFunc(n.kids, func(a, b *node) int { return cmp.Compare(a.cost(), b.cost()) })
	case store.Or:
		n.op, n.kids = opOr, compileAll(x)
	case store.Not:
		n.op, n.kids = opNot, []*node{compile(x.X)}
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

func compileAll(xs []store.Expr) []*node {
	out := make([]*node, len(xs))
	for i, x := range xs {
		out[i] = compile(x)
	}
	return out
}

// cost orders the members of a conjunction: what can rule a block out cheaply
// comes first.
func (n *node) cost() int {
	switch n.op {
	case opField:
		return 0
	case opText:
		return 1
	}
	return 2
}

func (n *node) setLiterals(lits [][]byte) {
	n.literals = lits
	for _, l := range lits {
		n.needed = append(n.needed, needed(l)...)
		for _, run := range bytes.FieldsFunc(l, manyWays) {
			if f := asJSON(run); len(f) > len(n.fast) {
				n.fast = f
				n.whole = len(run) == len(l)
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

// manyWays reports whether a character of folded text has more than one way to
// stand in JSON that is not exotic: quotes and line ends also stand between
// strings, and what is beyond ASCII is not folded there.
func manyWays(r rune) bool { return r < 0x20 || r >= 0x80 || r == '"' }

// asJSON returns folded text without such characters as JSON writes it.
func asJSON(text []byte) []byte { return bytes.ReplaceAll(text, []byte(`\`), []byte(`\\`)) }
