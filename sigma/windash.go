package sigma

import (
	"errors"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/picket-edr/picket/sigma/internal/pattern"
)

// optionDashes are the characters that Windows programs accept before an option.
var optionDashes = []string{"-", "/", "–", "—", "―"}

// windashVariants replaces each - or / that starts a word by each of the dashes, in all
// combinations. Like in pySigma, a word starts there if the rune before is not
// part of a word and the rune after is. The variants have at most limitBytes.
func windashVariants(p pattern.Pattern, limitBytes int) ([]pattern.Pattern, error) {
	variants := []pattern.Pattern{nil}
	add := func(alternatives ...pattern.Part) error {
		if len(variants)*len(alternatives) > pattern.MaxVariants {
			return errors.New("the value has too many dashes")
		}
		next := make([]pattern.Pattern, 0, len(variants)*len(alternatives))
		size := 0
		for _, v := range variants {
			for _, a := range alternatives {
				variant := append(slices.Clip(v), a).Canonical()
				if size += variant.ApproximateBytes(); size > limitBytes {
					return pattern.ErrTooManyVariants
				}
				next = append(next, variant)
			}
		}
		variants = next
		return nil
	}
	for _, q := range p {
		from := 0
		for i := 0; q.Kind == pattern.Literal && i < len(q.Text); i++ {
			if c := q.Text[i]; c != '-' && c != '/' || !dashStartsWord(q.Text, i) {
				continue
			}
			if err := add(pattern.Part{Kind: pattern.Literal, Text: q.Text[from:i]}); err != nil {
				return nil, err
			}
			var alternatives []pattern.Part
			for _, d := range optionDashes {
				alternatives = append(alternatives, pattern.Part{Kind: pattern.Literal, Text: d})
			}
			if err := add(alternatives...); err != nil {
				return nil, err
			}
			from = i + 1
		}
		rest := q
		rest.Text = q.Text[from:]
		if err := add(rest); err != nil {
			return nil, err
		}
	}
	return variants, nil
}

func dashStartsWord(s string, dashIndex int) bool {
	before, _ := utf8.DecodeLastRuneInString(s[:dashIndex])
	after, _ := utf8.DecodeRuneInString(s[dashIndex+1:])
	return !isWordRune(before) && isWordRune(after)
}

func isWordRune(r rune) bool {
	return r != utf8.RuneError && (r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r))
}
