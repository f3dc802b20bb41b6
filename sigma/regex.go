package sigma

import (
	"bytes"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// A regex is a regular expression behind tests that are cheaper than it.
// Syntax and meaning are those of package regexp, which knows neither
// lookaround nor backreferences; the search is not anchored.
type regex struct {
	source string // flags included
	re     *regexp.Regexp
	// gates are literal sets; of each, at least one literal stands in every
	// folded value that the expression matches.
	gates [][][]byte
	// size is how many bytes a match has at least, and runs are bytes of a class
	// that it holds next to each other.
	size int
	runs []byteRun
	// least is not 0 for .{least,}: that many runes in one line, or in the
	// whole value if newlines count too.
	least    int
	newlines bool
	// ordered are, for a.*b.*c, the literals: they must stand in one line in
	// this order.
	ordered []string
}

// compileRegex compiles a regular expression with the flags out of "ims".
func compileRegex(source, flags string) (*regex, error) {
	if flags != "" {
		source = "(?" + flags + ")" + source
	}
	re, err := regexp.Compile(source)
	if err != nil {
		return nil, err
	}
	tree, err := syntax.Parse(source, syntax.Perl)
	if err != nil {
		return nil, err
	}
	r := &regex{source: source, re: re}
	tree = uncapture(tree)
	if tree.Op == syntax.OpRepeat && tree.Min > 0 {
		switch uncapture(tree.Sub[0]).Op {
		case syntax.OpAnyCharNotNL:
			r.least = tree.Min
			return r, nil
		case syntax.OpAnyChar:
			r.least, r.newlines = tree.Min, true
			return r, nil
		}
	}
	if r.literalsInOrder(tree) {
		return r, nil
	}
	r.size = minSize(tree)
	r.runs = runsOf(nil, tree)
	for _, set := range necessaryOf(tree).all() {
		var gate [][]byte
		for _, s := range set {
			gate = append(gate, []byte(s))
		}
		r.gates = append(r.gates, gate)
	}
	return r, nil
}

func uncapture(t *syntax.Regexp) *syntax.Regexp {
	for t.Op == syntax.OpCapture {
		t = t.Sub[0]
	}
	return t
}

// literalsInOrder recognises a, a.*b, a.*b.*c and so on.
func (r *regex) literalsInOrder(t *syntax.Regexp) bool {
	subs := []*syntax.Regexp{t}
	if t.Op == syntax.OpConcat {
		subs = t.Sub
	}
	if len(subs)%2 == 0 {
		return false
	}
	var ordered []string
	for i, s := range subs {
		if i%2 == 1 {
			if s.Op != syntax.OpStar || s.Sub[0].Op != syntax.OpAnyCharNotNL {
				return false
			}
			continue
		}
		text := string(s.Rune)
		if s.Op != syntax.OpLiteral || s.Flags&syntax.FoldCase != 0 || strings.ContainsRune(text, utf8.RuneError) || len(subs) > 1 && strings.Contains(text, "\n") {
			return false
		}
		ordered = append(ordered, text)
	}
	r.ordered = ordered
	return true
}

// match reports whether the expression matches in text, whose folded form is
// given too.
func (r *regex) match(text string, folded []byte) bool {
	switch {
	case r.least > 0 && r.newlines:
		return utf8.RuneCountInString(text) >= r.least
	case r.least > 0:
		return hasLongLine(text, r.least)
	case r.ordered != nil:
		return inOrder(text, r.ordered)
	}
	if len(text) < r.size {
		return false
	}
	for _, gate := range r.gates {
		if !containsAny(folded, gate) {
			return false
		}
	}
	for i := range r.runs {
		if !r.runs[i].in(text) {
			return false
		}
	}
	return r.re.MatchString(text)
}

func containsAny(b []byte, literals [][]byte) bool {
	for _, l := range literals {
		if bytes.Contains(b, l) {
			return true
		}
	}
	return false
}

func hasLongLine(s string, least int) bool {
	for len(s) >= least {
		line, rest, _ := strings.Cut(s, "\n")
		if len(line) >= least && utf8.RuneCountInString(line) >= least {
			return true
		}
		s = rest
	}
	return false
}

// inOrder reports whether one line of s holds the literals in this order.
func inOrder(s string, literals []string) bool {
	if len(literals) == 1 {
		return strings.Contains(s, literals[0])
	}
	for s != "" {
		line, rest, _ := strings.Cut(s, "\n")
		found := true
		for _, l := range literals {
			i := strings.Index(line, l)
			if i < 0 {
				found = false
				break
			}
			line = line[i+len(l):]
		}
		if found {
			return true
		}
		s = rest
	}
	return false
}
