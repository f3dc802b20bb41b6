package store

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// readValue reads a word or quoted text after an operator. A regex may contain
// balanced parentheses without quotes.
func (p *parser) readValue(op string) (string, error) {
	start := p.pos
	if p.pos < len(p.text) && p.text[p.pos] == '"' {
		v, err := p.readQuoted()
		if err != nil {
			return "", err
		}
		return v, p.expectTermEnd()
	}
	open := 0
	v := p.readUntil(func(r rune) bool {
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
		return "", p.errorAt(start, `a value is missing after %s (write "" for an empty one)`, op)
	}
	return v, p.expectTermEnd()
}

// expectTermEnd checks that a word or quoted text is not followed by another at once.
func (p *parser) expectTermEnd() error {
	if p.pos < len(p.text) {
		if r, _ := utf8.DecodeRuneInString(p.text[p.pos:]); !endsWord(r) {
			return p.errorAt(p.pos, `a space or the end is expected here (inside quotes, write a quote as \")`)
		}
	}
	p.skipSpace()
	return nil
}

func (p *parser) readUntil(end func(rune) bool) string {
	start := p.pos
	for p.pos < len(p.text) {
		r, n := utf8.DecodeRuneInString(p.text[p.pos:])
		if end(r) {
			break
		}
		p.pos += n
	}
	return p.text[start:p.pos]
}

func (p *parser) readQuoted() (string, error) {
	start := p.pos
	var b strings.Builder
	for i := start + 1; i < len(p.text); i++ {
		switch {
		case p.text[i] == '"':
			p.pos = i + 1
			return b.String(), nil
		case p.text[i] == '\\' && i+1 < len(p.text) && p.text[i+1] == '"':
			b.WriteByte('"')
			i++
		default:
			b.WriteByte(p.text[i])
		}
	}
	hint := ""
	if strings.HasSuffix(strings.TrimRight(p.text, " )"), `\"`) {
		hint = ` (\" is a quote inside the text; to end in a backslash, leave the quotes off or put ? for it)`
	}
	return "", p.errorAt(start, "the quote is not closed%s", hint)
}

func endsWord(r rune) bool { return r == '(' || r == ')' || unicode.IsSpace(r) }

func isKeyword(s string) bool {
	return strings.EqualFold(s, "and") || strings.EqualFold(s, "or") || strings.EqualFold(s, "not")
}

func invalidUTF8Index(s string) int {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return i
			}
		}
	}
	return -1
}
