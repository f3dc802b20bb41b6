package sigma

import (
	"regexp"
	"strings"
)

// A pattern is a Sigma string: literals and wildcards in order, and, until
// placeholders are expanded, placeholders.
type pattern []part

type part struct {
	kind partKind
	text string // of a literal, or the name of a placeholder
}

type partKind uint8

const (
	literal  partKind = iota
	star              // any runes, none included
	question          // exactly one rune
	placeholder
)

// parsePattern reads a Sigma string as a rule writes it. A backslash escapes
// '*', '?' and itself and stands for itself before anything else and at the
// end. With placeholders, %name% is one, and a backslash also escapes '%'.
func parsePattern(s string, placeholders bool) pattern {
	var p pattern
	var lit strings.Builder
	flush := func() {
		if lit.Len() > 0 {
			p = append(p, part{literal, lit.String()})
			lit.Reset()
		}
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s) && (isSpecial(s[i+1]) || placeholders && s[i+1] == '%'):
			i++
			lit.WriteByte(s[i])
		case c == '*':
			flush()
			p = append(p, part{kind: star})
		case c == '?':
			flush()
			p = append(p, part{kind: question})
		case c == '%' && placeholders:
			name, n := placeholderAt(s[i:])
			if n == 0 {
				lit.WriteByte(c)
				continue
			}
			flush()
			p = append(p, part{placeholder, name})
			i += n - 1
		default:
			lit.WriteByte(c)
		}
	}
	flush()
	return p
}

func isSpecial(c byte) bool { return c == '*' || c == '?' || c == '\\' }

// placeholderAt returns the name of the placeholder that s begins with and the
// bytes it takes, 0 if there is none.
func placeholderAt(s string) (name string, n int) {
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

// canonical joins neighbouring literals, drops stars next to a star, and moves
// stars after question marks, which changes nothing about what matches.
func (p pattern) canonical() pattern {
	out := make(pattern, 0, len(p))
	for _, q := range p {
		last := len(out) - 1
		switch {
		case q.kind == literal && q.text == "":
		case last >= 0 && q.kind == literal && out[last].kind == literal:
			out[last].text += q.text
		case last >= 0 && q.kind == star && out[last].kind == star:
		case last >= 0 && q.kind == question && out[last].kind == star:
			out[last] = q
			out = append(out, part{kind: star})
		default:
			out = append(out, q)
		}
	}
	return out
}

func (p pattern) hasWildcard() bool {
	for _, q := range p {
		if q.kind == star || q.kind == question {
			return true
		}
	}
	return false
}

// plain returns the text of a pattern without wildcards.
func (p pattern) plain() string {
	var b strings.Builder
	for _, q := range p {
		b.WriteString(q.text)
	}
	return b.String()
}

// withStars puts stars at the ends asked for, where there is none yet.
func (p pattern) withStars(before, after bool) pattern {
	out := make(pattern, 0, len(p)+2)
	if before && (len(p) == 0 || p[0].kind != star) {
		out = append(out, part{kind: star})
	}
	out = append(out, p...)
	if after && out.endsInLiteral() {
		out = append(out, part{kind: star})
	}
	return out
}

func (p pattern) endsInLiteral() bool {
	return len(p) == 0 || p[len(p)-1].kind != star
}

// mapLiterals returns p with f applied to the text of each literal.
func (p pattern) mapLiterals(f func(string) string) pattern {
	out := make(pattern, len(p))
	for i, q := range p {
		if q.kind == literal {
			q.text = f(q.text)
		}
		out[i] = q
	}
	return out
}

// regexpSource returns the pattern as a regular expression that must match
// where the pattern stands, for placeholders in the value of a regex.
func (p pattern) regexpSource() string {
	var b strings.Builder
	for _, q := range p {
		switch q.kind {
		case star:
			b.WriteString("(?s:.*)")
		case question:
			b.WriteString("(?s:.)")
		default:
			b.WriteString(regexp.QuoteMeta(q.text))
		}
	}
	return b.String()
}
