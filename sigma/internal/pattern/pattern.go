// Package pattern reads and writes Sigma's strings: literals, the wildcards *
// and ?, and placeholders.
package pattern

import (
	"errors"
	"regexp"
	"slices"
	"strings"
)

// A Pattern is a Sigma string: its literals, wildcards and placeholders in
// order.
type Pattern []Part

// A Part of a Pattern.
type Part struct {
	Kind PartKind
	Text string // of a Literal, or the name of a Placeholder
}

// A PartKind is a kind of Part.
type PartKind uint8

// The kinds of parts.
const (
	Literal     PartKind = iota
	Star                 // any number of runes, also none
	Question             // exactly one rune
	Placeholder          // a name that Expand replaces
)

// Parse reads a Sigma string as a rule writes it. A backslash escapes *, ? and
// itself, and stands for itself before anything else and at the end. With
// placeholders, %name% is one, and a backslash escapes % too.
func Parse(s string, placeholders bool) Pattern {
	var p Pattern
	var lit strings.Builder
	flush := func() {
		if lit.Len() > 0 {
			p = append(p, Part{Literal, lit.String()})
			lit.Reset()
		}
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s) && (IsSpecial(s[i+1]) || placeholders && s[i+1] == '%'):
			i++
			lit.WriteByte(s[i])
		case c == '*':
			flush()
			p = append(p, Part{Kind: Star})
		case c == '?':
			flush()
			p = append(p, Part{Kind: Question})
		case c == '%' && placeholders:
			name, n := leadingPlaceholder(s[i:])
			if n == 0 {
				lit.WriteByte(c)
				continue
			}
			flush()
			p = append(p, Part{Placeholder, name})
			i += n - 1
		default:
			lit.WriteByte(c)
		}
	}
	flush()
	return p
}

// ParseRegexp reads a regular expression: its placeholders, and
// everything else as literals.
func ParseRegexp(s string) Pattern {
	var p Pattern
	from := 0
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
		} else if s[i] == '%' {
			if name, n := leadingPlaceholder(s[i:]); n > 0 {
				p = append(p, Part{Literal, s[from:i]}, Part{Placeholder, name})
				from = i + n
				i = from - 1
			}
		}
	}
	return append(p, Part{Literal, s[from:]})
}

// IsSpecial reports whether c has a meaning in a Sigma string, so that a
// backslash escapes it.
func IsSpecial(c byte) bool { return c == '*' || c == '?' || c == '\\' }

// leadingPlaceholder returns the name of the placeholder at the start of s and its
// length in bytes, 0 if there is none.
func leadingPlaceholder(s string) (name string, length int) {
	end := strings.IndexByte(s[1:], '%')
	if end < 1 {
		return "", 0
	}
	name = s[1 : 1+end]
	if strings.ContainsAny(name, "\\*? ") {
		return "", 0
	}
	return name, end + 2
}

// FromLiteral returns the pattern that matches only s.
func FromLiteral(s string) Pattern { return Pattern{{Literal, s}} }

// Canonical joins adjacent literals, merges adjacent stars, and moves stars
// behind question marks. None of that changes what matches.
func (p Pattern) Canonical() Pattern {
	out := make(Pattern, 0, len(p))
	for _, q := range p {
		last := len(out) - 1
		switch {
		case q.Kind == Literal && q.Text == "":
		case last >= 0 && q.Kind == Literal && out[last].Kind == Literal:
			out[last].Text += q.Text
		case last >= 0 && q.Kind == Star && out[last].Kind == Star:
		case last >= 0 && q.Kind == Question && out[last].Kind == Star:
			out[last] = q
			out = append(out, Part{Kind: Star})
		default:
			out = append(out, q)
		}
	}
	return out
}

// HasWildcard reports whether the pattern has a star or question mark.
func (p Pattern) HasWildcard() bool {
	for _, q := range p {
		if q.Kind == Star || q.Kind == Question {
			return true
		}
	}
	return false
}

// TextWithoutWildcards returns the text of a pattern without wildcards.
func (p Pattern) TextWithoutWildcards() string {
	var b strings.Builder
	for _, q := range p {
		b.WriteString(q.Text)
	}
	return b.String()
}

// WithStars adds stars at the given ends, where there is none yet.
func (p Pattern) WithStars(before, after bool) Pattern {
	out := make(Pattern, 0, len(p)+2)
	if before && (len(p) == 0 || p[0].Kind != Star) {
		out = append(out, Part{Kind: Star})
	}
	out = append(out, p...)
	if after && (len(out) == 0 || out[len(out)-1].Kind != Star) {
		out = append(out, Part{Kind: Star})
	}
	return out
}

// MapLiterals returns p with f applied to the text of each literal.
func (p Pattern) MapLiterals(f func(string) string) Pattern {
	out := make(Pattern, len(p))
	for i, q := range p {
		if q.Kind == Literal {
			q.Text = f(q.Text)
		}
		out[i] = q
	}
	return out
}

// MaxVariants is how many patterns one value may expand to, and MaxVariantBytes the
// ApproximateBytes of all of them.
const (
	MaxVariants     = 1 << 13
	MaxVariantBytes = 8 << 20
)

// PartOverheadBytes is what a part takes beside its text, in bytes, roughly.
const PartOverheadBytes = 32

// ApproximateBytes returns what p takes in bytes, roughly.
func (p Pattern) ApproximateBytes() int {
	n := 0
	for i := range p {
		n += PartOverheadBytes + len(p[i].Text)
	}
	return n
}

// ErrTooManyVariants says that a value would expand to more than MaxVariants.
var ErrTooManyVariants = errors.New("the value has too many variants")

// Expand replaces each placeholder by each of the patterns that values returns
// for its name, in all combinations.
func (p Pattern) Expand(values func(name string) ([]Pattern, error)) ([]Pattern, error) {
	variants := []Pattern{nil}
	for _, q := range p {
		alternatives := []Pattern{{q}}
		if q.Kind == Placeholder {
			var err error
			if alternatives, err = values(q.Text); err != nil {
				return nil, err
			}
		}
		var next []Pattern
		size := 0
		for _, v := range variants {
			for _, a := range alternatives {
				next = append(next, slices.Concat(v, a))
				if size += v.ApproximateBytes() + a.ApproximateBytes(); size > MaxVariantBytes || len(next) > MaxVariants {
					return nil, ErrTooManyVariants
				}
			}
		}
		variants = next
	}
	return variants, nil
}

// Source returns the pattern as a rule writes it: what Parse reads back.
func (p Pattern) Source(escapePercent bool) string {
	var b strings.Builder
	for _, q := range p {
		switch q.Kind {
		case Star:
			b.WriteByte('*')
		case Question:
			b.WriteByte('?')
		case Placeholder:
			b.WriteString("%" + q.Text + "%")
		default:
			for i := range len(q.Text) {
				if c := q.Text[i]; IsSpecial(c) || escapePercent && c == '%' {
					b.WriteByte('\\')
				}
				b.WriteByte(q.Text[i])
			}
		}
	}
	return b.String()
}

// Unescaped returns the pattern with wildcards as * and ?, and literals without
// backslashes.
func (p Pattern) Unescaped() string {
	var b strings.Builder
	for _, q := range p {
		switch q.Kind {
		case Star:
			b.WriteByte('*')
		case Question:
			b.WriteByte('?')
		default:
			b.WriteString(q.Text)
		}
	}
	return b.String()
}

// RegexpTemplate returns a regular expression with placeholders: what
// ParseRegexp reads back.
func (p Pattern) RegexpTemplate() string {
	var b strings.Builder
	for _, q := range p {
		if q.Kind == Placeholder {
			b.WriteString("%" + q.Text + "%")
		} else {
			b.WriteString(q.Text)
		}
	}
	return b.String()
}

// RegexpSource returns a regular expression that matches what the pattern does,
// to stand for a placeholder in a regular expression.
func (p Pattern) RegexpSource() string {
	var b strings.Builder
	for _, q := range p {
		switch q.Kind {
		case Star:
			b.WriteString("(?s:.*)")
		case Question:
			b.WriteString("(?s:.)")
		default:
			b.WriteString(regexp.QuoteMeta(q.Text))
		}
	}
	return b.String()
}
