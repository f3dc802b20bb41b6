package regexprefilter

import "regexp/syntax"

// Size returns how many nodes an expression has once its repetitions are written
// out, which is about the number of instructions that it compiles to.
func Size(source string) (int, error) {
	tree, err := syntax.Parse(source, syntax.Perl)
	if err != nil {
		return 0, err
	}
	return treeSize(tree), nil
}

func treeSize(t *syntax.Regexp) int {
	n := 1 + len(t.Rune)/2
	for _, sub := range t.Sub {
		n += treeSize(sub)
	}
	if t.Op == syntax.OpRepeat {
		n *= max(t.Min, t.Max, 1) // syntax.Parse bounds the product of nested ones
	}
	return n
}
