package store

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// value reads a word or quoted text after an operator. A regex may contain
// parentheses without quotes as long as they are in pairs.
func (p *parser) value(op string) (string, error) {
	start := p.at
	if p.at < len(p.s) && p.s[p.at] == '"' {
		v, err := p.quoted()
		if err != nil {
			return "", err
		}
		return v, p.endTerm()
	}
	open := 0
	v := p.until(func(r rune) bool {
		if op == "~" && r == '(' {
			open++
			return false
		}
		if op == "~" && r == ')' && open > 0 {
			open--
			return false
		}
		return endsWord(r) || r == '"'
	})
	if v == "" {
		return "", p.fail(start, `a value is missing after %s (write "" for an empty one)`, op)
	}
	return v, p.endTerm()
}

// endTerm checks that a word or quoted text is not run into by another.
func (p *parser) endTerm() error {
	if p.at < len(p.s) {
		if r, _ := utf8.DecodeRuneInString(p.s[p.at:]); !endsWord(r) {
			return p.fail(p.at, `a space or the end is expected here (inside quotes, write a quote as \")`)
		}
	}
	p.space()
	return nil
}

func (p *parser) until(end func(rune) bool) string {
	start := p.at
	for p.at < len(p.s) {
		r, n := utf8.DecodeRuneInString(p.s[p.at:])
		if end(r) {
			break
		}
		p.at += n
	}
	return p.s[start:p.at]
}

func (p *parser) quoted() (string, error) {
	start := p.at
	var b strings.Builder
	for i := start + 1; i < len(p.s); i++ {
		switch {
		case p.s[i] == '"':
			p.at = i + 1
			return b.String(), nil
		case p.s[i] == '\\' && i+1 < len(p.s) && p.s[i+1] == '"':
			b.WriteByte('"')
			i++
		default:
			b.WriteByte(p.s[i])
		}
	}
	hint := ""
	if strings.HasSuffix(strings.TrimRight(p.s, " )"), `\"`) {
		hint = ` (\" is a quote inside the text; to end in a backslash, leave the quotes off or put ? for it)`
	}
	return "", p.fail(start, "the quote is not closed%s", hint)
}

func endsWord(r rune) bool { return r == '(' || r == ')' || unicode.IsSpace(r) }

func isKeyword(s string) bool {
	return strings.EqualFold(s, "and") || strings.EqualFold(s, "or") || strings.EqualFold(s, "not")
}

func invalidUTF8(s string) int {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return i
			}
		}
	}
	return -1
}
