// Package regexprefilter matches regular expressions behind tests that are
// cheaper than running them: literals and runs of a character class that every
// match contains.
package regexprefilter

import (
	"bytes"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"

	"github.com/picket-edr/picket/sigma/casefold"
)

// A Regex is a regular expression with its prefilter. Syntax and meaning are
// those of package regexp; the search is not anchored.
type Regex struct {
	source string // with flags
	re     *regexp.Regexp

	required  [][][]byte
	minLength int // of a match, in bytes
	runs      []byteClassRun

	// minRunes is not 0 for .{minRunes,}: a line needs that many runes or, with
	// newlines, the whole value does.
	minRunes int
	newlines bool
	// ordered are the literals of a, a.*b, a.*b.*c and so on: a line must
	// contain them in this order.
	ordered []string
}

// Compile compiles a regular expression. The flags are any of "ims".
func Compile(source, flags string) (*Regex, error) {
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
	r := &Regex{source: source, re: re}
	tree = uncapture(tree)
	if tree.Op == syntax.OpRepeat && tree.Min > 0 {
		switch uncapture(tree.Sub[0]).Op {
		case syntax.OpAnyCharNotNL:
			r.minRunes = tree.Min
			return r, nil
		case syntax.OpAnyChar:
			r.minRunes, r.newlines = tree.Min, true
			return r, nil
		}
	}
	if r.ordered = orderedLiterals(tree); r.ordered != nil {
		longest := ""
		for _, l := range r.ordered {
			if len(l) > len(longest) {
				longest = l
			}
		}
		r.required = [][][]byte{{[]byte(casefold.String(longest))}}
		return r, nil
	}
	r.minLength = MinMatchBytes(tree)
	r.runs = appendRequiredRuns(nil, tree)
	for _, set := range analyze(tree).requiredSets() {
		var literals [][]byte
		for _, s := range set {
			literals = append(literals, []byte(s))
		}
		r.required = append(r.required, literals)
	}
	return r, nil
}

// Source returns the expression with its flags.
func (r *Regex) Source() string { return r.source }

// RequiredLiteralSets returns sets of literals: every folded value that the expression
// matches contains at least one literal of each set.
func (r *Regex) RequiredLiteralSets() [][][]byte { return r.required }

// NeedsNoRegexp reports whether Match needs no regular expression: it counts runes,
// or searches for literals.
func (r *Regex) NeedsNoRegexp() bool { return r.minRunes > 0 || r.ordered != nil }

func uncapture(t *syntax.Regexp) *syntax.Regexp {
	for t.Op == syntax.OpCapture {
		t = t.Sub[0]
	}
	return t
}

// orderedLiterals returns the literals of an expression of the form a, a.*b,
// a.*b.*c and so on, nil for others.
func orderedLiterals(t *syntax.Regexp) []string {
	subs := []*syntax.Regexp{t}
	if t.Op == syntax.OpConcat {
		subs = t.Sub
	}
	if len(subs)%2 == 0 {
		return nil
	}
	var ordered []string
	for i, s := range subs {
		if i%2 == 1 {
			if s.Op != syntax.OpStar || s.Sub[0].Op != syntax.OpAnyCharNotNL {
				return nil
			}
			continue
		}
		text := string(s.Rune)
		if s.Op != syntax.OpLiteral || s.Flags&syntax.FoldCase != 0 || strings.ContainsRune(text, utf8.RuneError) || len(subs) > 1 && strings.Contains(text, "\n") {
			return nil
		}
		ordered = append(ordered, text)
	}
	return ordered
}

// Match reports whether the expression matches text; folded is text folded.
func (r *Regex) Match(text string, folded []byte) bool {
	switch {
	case r.minRunes > 0 && r.newlines:
		return utf8.RuneCountInString(text) >= r.minRunes
	case r.minRunes > 0:
		return hasLongLine(text, r.minRunes)
	case r.ordered != nil:
		return hasLineWithLiteralsInOrder(text, r.ordered)
	}
	if len(text) < r.minLength {
		return false
	}
	for _, literals := range r.required {
		if !containsAny(folded, literals) {
			return false
		}
	}
	for i := range r.runs {
		if !r.runs[i].occursIn(text) {
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

// hasLongLine reports whether a line of s has at least that many runes.
func hasLongLine(s string, minRunes int) bool {
	for len(s) >= minRunes {
		line, rest, _ := strings.Cut(s, "\n")
		if len(line) >= minRunes && utf8.RuneCountInString(line) >= minRunes {
			return true
		}
		s = rest
	}
	return false
}

// hasLineWithLiteralsInOrder reports whether a line of s contains the literals in this
// order.
func hasLineWithLiteralsInOrder(s string, literals []string) bool {
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
