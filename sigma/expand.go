package sigma

import (
	"errors"
	"fmt"
	"slices"
)

// expandValue replaces the placeholders of a value by each of their values;
// several placeholders multiply. In a regex they stand for the text itself.
func expandValue(s scalar, raw bool, placeholders map[string][]string) ([]operand, error) {
	if s.kind != String {
		return []operand{{kind: kindOf(s), scalar: s}}, nil
	}
	var p pattern
	if raw {
		p = rawPattern(s.text)
	} else {
		p = parsePattern(s.text, true)
	}
	out := []pattern{nil}
	for _, q := range p {
		alts := []pattern{{q}}
		if q.kind == placeholder {
			alts = nil
			for _, v := range placeholders[q.text] {
				alts = append(alts, parsePattern(v, false))
			}
			if alts == nil {
				return nil, fmt.Errorf("modifier expand: placeholder %%%s%% has no value", q.text)
			}
			if raw {
				for i, a := range alts {
					alts[i] = pattern{{literal, a.regexpSource()}}
				}
			}
		}
		var next []pattern
		for _, o := range out {
			for _, a := range alts {
				next = append(next, append(slices.Clip(o), a...))
			}
		}
		if out = next; len(out) > maxAlternatives {
			return nil, errors.New("modifier expand: the value has too many variants")
		}
	}
	var ops []operand
	for _, o := range out {
		v := s
		if raw {
			v.text = o.plain()
		}
		ops = append(ops, operand{kind: textOperand, pattern: o.canonical(), scalar: v})
	}
	return ops, nil
}

// rawPattern finds the placeholders of a regex and leaves the rest alone.
func rawPattern(s string) pattern {
	var p pattern
	from := 0
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
		} else if s[i] == '%' {
			if name, n := placeholderAt(s[i:]); n > 0 {
				p = append(p, part{literal, s[from:i]}, part{placeholder, name})
				from = i + n
				i = from - 1
			}
		}
	}
	return append(p, part{literal, s[from:]})
}
