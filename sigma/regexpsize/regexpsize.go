// Package regexpsize tells how large a regular expression is before it is
// compiled, because a short one can compile to a very large program.
package regexpsize

import "regexp/syntax"

// Of returns the size of an expression in the syntax of package regexp: the
// characters, classes and operators that are left when counted repetitions are
// written out, as a{3} is aaa. It is about the number of instructions that the
// expression compiles to.
func Of(source string) (int, error) {
	tree, err := syntax.Parse(source, syntax.Perl)
	if err != nil {
		return 0, err
	}
	return size(tree), nil
}

func size(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)/16 // a class has two runes for each range
	switch re.Op {
	case syntax.OpLiteral:
		n = len(re.Rune)
	case syntax.OpRepeat:
		n = 0
	}
	for _, sub := range re.Sub {
		n += size(sub)
	}
	if re.Op == syntax.OpRepeat {
		times := re.Max
		if times < 0 { // no upper bound: the last one is repeated
			times = re.Min + 1
		}
		n *= max(times, 1)
	}
	return min(n, 1<<30) // syntax.Parse bounds repetitions to 1000
}
