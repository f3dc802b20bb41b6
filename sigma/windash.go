package sigma

import (
	"errors"
	"slices"
	"unicode"
	"unicode/utf8"
)

// dashes are what Windows programs take for the mark of an option.
var dashes = []string{"-", "/", "–", "—", "―"}

// windash puts each of the dashes wherever a word begins with - or /, in all
// combinations. As in pySigma, that is where the rune before is no part of a
// word and the one after is.
func windash(p pattern) ([]pattern, error) {
	out := []pattern{nil}
	add := func(parts ...part) error {
		if len(out)*len(parts) > maxAlternatives {
			return errors.New("the value has too many dashes")
		}
		next := make([]pattern, 0, len(out)*len(parts))
		for _, o := range out {
			for _, q := range parts {
				next = append(next, append(slices.Clip(o), q).canonical())
			}
		}
		out = next
		return nil
	}
	for _, q := range p {
		from := 0
		for i := 0; q.kind == literal && i < len(q.text); i++ {
			if c := q.text[i]; c != '-' && c != '/' || !startsWord(q.text, i) {
				continue
			}
			if err := add(part{literal, q.text[from:i]}); err != nil {
				return nil, err
			}
			var alts []part
			for _, d := range dashes {
				alts = append(alts, part{literal, d})
			}
			if err := add(alts...); err != nil {
				return nil, err
			}
			from = i + 1
		}
		rest := q
		rest.text = q.text[from:]
		if err := add(rest); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func startsWord(s string, i int) bool {
	before, _ := utf8.DecodeLastRuneInString(s[:i])
	after, _ := utf8.DecodeRuneInString(s[i+1:])
	return !isWord(before) && isWord(after)
}

func isWord(r rune) bool {
	return r != utf8.RuneError && (r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r))
}
