package sigma

import (
	"slices"
	"strings"
)

// readPlaceholders reads which placeholders a transformation is for.
func readPlaceholders(s *spec) func(name string) bool {
	_, both := s.take("include")
	include, exclude := s.list("include"), s.list("exclude")
	if both && exclude != nil {
		s.fail(placeOf(s.node), "%s: include and exclude, of which there can be one", s.what)
	}
	return func(name string) bool {
		return (include == nil || slices.Contains(include, name)) && !slices.Contains(exclude, name)
	}
}

func readWildcardPlaceholders(s *spec, _ string) transformation {
	mine := readPlaceholders(s)
	return onPlaceholders(mine, func(*pipelineRun, string) ([]pattern, *lineError) { return []pattern{{{kind: star}}}, nil })
}

func readValuePlaceholders(s *spec, _ string) transformation {
	mine := readPlaceholders(s)
	return onPlaceholders(mine, func(r *pipelineRun, name string) ([]pattern, *lineError) {
		values, ok := r.vars[name]
		if !ok {
			return nil, errorAt(place{}, "the pipeline has no variable %q for the placeholder", name)
		}
		var out []pattern
		for _, v := range values {
			out = append(out, parsePattern(v, false))
		}
		return out, nil
	})
}

// onPlaceholders replaces placeholders, in regular expressions too, by each of
// what of returns; several multiply. The modifiers stay: those of affixes mean
// what they did.
func onPlaceholders(mine func(string) bool, of func(*pipelineRun, string) ([]pattern, *lineError)) transformation {
	return onItems(func(r *pipelineRun, it item) ([]item, bool, *lineError) {
		if !it.has("expand") {
			return nil, false, nil
		}
		raw := it.has("re")
		var values []scalar
		changed := false
		for _, v := range it.values {
			if v.kind != String {
				values = append(values, v)
				continue
			}
			p := parsePattern(v.text, true)
			if raw {
				p = rawPattern(v.text)
			}
			out := []pattern{nil}
			for _, q := range p {
				alts := []pattern{{q}}
				if q.kind == placeholder && mine(q.text) {
					var err *lineError
					if alts, err = of(r, q.text); err != nil {
						return nil, false, err
					}
					changed = true
					if raw {
						alts = quoted(alts)
					}
				}
				var next []pattern
				for _, o := range out {
					for _, a := range alts {
						next = append(next, slices.Concat(o, a))
					}
				}
				if out = next; len(out) > maxAlternatives {
					return nil, false, errorAt(place{}, "the placeholders of a value have too many variants")
				}
			}
			for _, o := range out {
				w := v
				w.text = o.written(true)
				if raw {
					w.text = o.raw()
				}
				values = append(values, w)
			}
		}
		it.values = values
		return []item{it}, changed, nil
	})
}

// quoted makes parts of regular expressions of patterns. What looks like a
// placeholder in them is none.
func quoted(alts []pattern) []pattern {
	out := make([]pattern, len(alts))
	for i, a := range alts {
		if len(a) == 1 && a[0].kind == placeholder {
			out[i] = a
			continue
		}
		out[i] = pattern{{literal, strings.ReplaceAll(a.regexpSource(), "%", `\%`)}}
	}
	return out
}

// raw writes a regular expression that rawPattern reads.
func (p pattern) raw() string {
	s := ""
	for _, q := range p {
		if q.kind == placeholder {
			s += "%" + q.text + "%"
		} else {
			s += q.text
		}
	}
	return s
}
