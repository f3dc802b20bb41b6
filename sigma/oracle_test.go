package sigma

import (
	"encoding/base64"
	"math/big"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/picket-edr/picket/sigma/ast"
)

// OracleMatches reports whether a parsed rule matches an event, as slowly and
// obviously as possible: no index, no folding ahead, no sharing, and none of
// the engine's code but the parser's. The engine is tested against it.
func OracleMatches(r *ast.Rule, o Options, fields []Field, filters ...*ast.Filter) bool {
	holds := func(d ast.Detections) bool { return slices.ContainsFunc(d.Conditions, oracle{d, o, fields}.condition) }
	return holds(r.Detections) && !slices.ContainsFunc(filters, func(f *ast.Filter) bool { return f.AppliesTo(r) && !holds(f.Detections) })
}

type oracle struct {
	search  ast.Detections
	options Options
	fields  []Field
}

func (q oracle) condition(c ast.Condition) bool {
	switch c.Op {
	case ast.Not:
		return !q.condition(c.Operands[0])
	case ast.And:
		return !slices.ContainsFunc(c.Operands, func(k ast.Condition) bool { return !q.condition(k) })
	case ast.Or:
		return slices.ContainsFunc(c.Operands, q.condition)
	}
	return slices.ContainsFunc(q.search.Searches[c.Index].Alternatives, func(all ast.Conjunction) bool {
		return !slices.ContainsFunc(all, func(it ast.DetectionItem) bool { return !q.item(it) })
	})
}

func (q oracle) item(it ast.DetectionItem) bool {
	mod := func(names ...string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(it.Modifiers, n) })
	}
	holds := false
	if mod("all") {
		holds = !slices.ContainsFunc(it.Values, func(s ast.Scalar) bool { return !q.value(it, s, mod) })
	} else {
		holds = slices.ContainsFunc(it.Values, func(s ast.Scalar) bool { return q.value(it, s, mod) })
	}
	return holds != mod("neq")
}

// value reports whether any value of the item's field answers to s.
func (q oracle) value(it ast.DetectionItem, s ast.Scalar, mod func(...string) bool) bool {
	var have []Value
	for _, f := range q.fields {
		if it.Keyword || f.Name == it.Field {
			have = append(have, f.Value)
		}
	}
	present := len(have) > 0
	if s.Kind == Null {
		return !present || slices.ContainsFunc(have, func(v Value) bool { return v.Kind == Null })
	}
	if mod("exists") {
		return present == (s.Text == "true")
	}
	have = slices.DeleteFunc(have, func(v Value) bool { return v.Kind == Null })
	texts := []string{s.Text}
	if mod("expand") {
		texts = q.expand(s.Text, mod("re"))
	}
	return slices.ContainsFunc(have, func(v Value) bool {
		return slices.ContainsFunc(texts, func(text string) bool { return q.scalar(it, s, text, v.Text, mod) })
	})
}

func (q oracle) scalar(it ast.DetectionItem, s ast.Scalar, text, have string, mod func(...string) bool) bool {
	switch {
	case mod("re"):
		flags := ""
		for _, f := range [][]string{{"i", "ignorecase"}, {"m", "multiline"}, {"s", "dotall"}} {
			if mod(f...) {
				flags += f[0]
			}
		}
		if flags != "" {
			text = "(?" + flags + ")" + text
		}
		return regexp.MustCompile(text).MatchString(have)
	case mod("cidr"):
		if !strings.Contains(text, "/") {
			text = netip.PrefixFrom(netip.MustParseAddr(text), netip.MustParseAddr(text).BitLen()).String()
		}
		a, err := netip.ParseAddr(have)
		p := netip.MustParsePrefix(text)
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return err == nil && len(have) <= 64 && p.Contains(a.Unmap().WithZone(""))
	case mod("fieldref"):
		return slices.ContainsFunc(q.fields, func(f Field) bool {
			if f.Name != oraclePlain(text) || f.Value.Kind == Null {
				return false
			}
			tokens := oracleLiteral(f.Value.Text)
			if mod("contains") || mod("endswith") {
				tokens = slices.Concat([]rune{oracleStar}, tokens)
			}
			if mod("contains") || mod("startswith") {
				tokens = append(tokens, oracleStar)
			}
			return oracleGlob(tokens, oracleLiteral(have), mod("cased"))
		})
	case mod("lt", "lte", "gt", "gte", "minute", "hour", "day", "week", "month", "year"):
		return oracleCompare(text, have, mod)
	case s.Kind == Number && !it.Keyword && !mod("contains", "startswith", "endswith", "base64", "base64offset", "wide", "utf16", "utf16le", "utf16be", "windash"):
		a, ok := oracleNumber(have)
		b, _ := oracleNumber(text)
		return ok && a.Cmp(b) == 0
	}
	tokens := [][]rune{oracleTokens(text)}
	if s.Kind != String {
		tokens = [][]rune{oracleLiteral(text)}
	}
	for _, m := range it.Modifiers {
		var next [][]rune
		for _, t := range tokens {
			next = append(next, oracleModify(m, t)...)
		}
		tokens = next
	}
	return slices.ContainsFunc(tokens, func(t []rune) bool {
		if it.Keyword && !mod("startswith", "endswith") {
			t = slices.Concat([]rune{oracleStar}, t, []rune{oracleStar})
		}
		return oracleGlob(t, oracleLiteral(have), mod("cased"))
	})
}

// Tokens are runes, bytes that are no UTF-8, and these.
const (
	oracleStar     = -1
	oracleQuestion = -2
	oracleByte     = 0x200000 // + byte
)

func oracleLiteral(s string) []rune {
	var out []rune
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			r = oracleByte + rune(s[i])
		}
		out = append(out, r)
		i += n
	}
	return out
}

func oracleTokens(s string) []rune {
	in, out := oracleLiteral(s), []rune(nil)
	for i := 0; i < len(in); i++ {
		switch {
		case in[i] == '\\' && i+1 < len(in) && (in[i+1] == '*' || in[i+1] == '?' || in[i+1] == '\\'):
			i++
			out = append(out, in[i])
		case in[i] == '*':
			out = append(out, oracleStar)
		case in[i] == '?':
			out = append(out, oracleQuestion)
		default:
			out = append(out, in[i])
		}
	}
	return out
}

func oracleText(t []rune) string {
	var b []byte
	for _, r := range t {
		if r >= oracleByte {
			b = append(b, byte(r-oracleByte))
		} else {
			b = utf8.AppendRune(b, r)
		}
	}
	return string(b)
}

func oraclePlain(s string) string { return oracleText(oracleTokens(s)) }

// oracleGlob fills the table of which prefixes of the pattern match which
// prefixes of the value.
func oracleGlob(pat, value []rune, cased bool) bool {
	row := make([]bool, len(value)+1)
	row[0] = true
	for _, p := range pat {
		next := make([]bool, len(value)+1)
		for j := range next {
			switch {
			case p == oracleStar:
				next[j] = row[j] || j > 0 && next[j-1]
			case j > 0 && p == oracleQuestion:
				next[j] = row[j-1]
			case j > 0:
				next[j] = row[j-1] && oracleSame(p, value[j-1], cased)
			}
		}
		row = next
	}
	return row[len(value)]
}

func oracleSame(a, b rune, cased bool) bool {
	return a == b || !cased && a < oracleByte && b < oracleByte && strings.EqualFold(string(a), string(b))
}

func oracleModify(m string, t []rune) [][]rune {
	star := []rune{oracleStar}
	switch m {
	case "contains":
		return [][]rune{slices.Concat(star, t, star)}
	case "startswith":
		return [][]rune{slices.Concat(t, star)}
	case "endswith":
		return [][]rune{slices.Concat(star, t)}
	case "wide", "utf16le", "utf16be", "utf16":
		var out []rune
		if m == "utf16" {
			out = append(out, oracleByte+0xFF, oracleByte+0xFE)
		}
		for _, r := range t {
			if r < 0 {
				out = append(out, r)
				continue
			}
			for _, u := range utf16.Encode([]rune{r}) {
				pair := []byte{byte(u), byte(u >> 8)}
				if m == "utf16be" {
					slices.Reverse(pair)
				}
				out = append(out, oracleLiteral(string(pair[:1]))...)
				out = append(out, oracleLiteral(string(pair[1:]))...)
			}
		}
		return [][]rune{out}
	case "base64":
		return [][]rune{oracleLiteral(base64.StdEncoding.EncodeToString([]byte(oracleText(t))))}
	case "base64offset":
		var out [][]rune
		text := oracleText(t)
		for i := range 3 {
			enc := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(" ", i) + text))
			enc = enc[[]int{0, 2, 3}[i]:]
			if cut := []int{0, 3, 2}[(len(text)+i)%3]; cut <= len(enc) {
				if enc = enc[:len(enc)-cut]; enc != "" {
					out = append(out, oracleLiteral(enc))
				}
			}
		}
		return out
	case "windash":
		for i, r := range t {
			word := func(k int) bool {
				return k >= 0 && k < len(t) && t[k] >= 0 && t[k] < oracleByte && oracleWord.MatchString(string(t[k]))
			}
			if r != '-' && r != '/' || word(i-1) || !word(i+1) {
				continue
			}
			var out [][]rune
			for _, rest := range oracleModify(m, t[i+1:]) {
				for _, dash := range "-/–—―" {
					out = append(out, slices.Concat(t[:i], []rune{dash}, rest))
				}
			}
			return out
		}
	}
	return [][]rune{t}
}

var oracleWord = regexp.MustCompile(`^[\pL\pN_]$`)

var oracleNumberSyntax = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$`)

func oracleNumber(s string) (*big.Rat, bool) {
	if !oracleNumberSyntax.MatchString(s) {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}

func oracleCompare(text, have string, mod func(...string) bool) bool {
	want, _ := oracleNumber(text)
	got, ok := oracleNumber(have)
	parts := map[string]func(time.Time) int{
		"minute": time.Time.Minute, "hour": time.Time.Hour, "day": time.Time.Day, "year": time.Time.Year,
		"month": func(t time.Time) int { return int(t.Month()) },
		"week":  func(t time.Time) int { _, w := t.ISOWeek(); return w },
	}
	for name, of := range parts {
		if mod(name) {
			t, isTime := oracleTime(have)
			if !isTime {
				return false
			}
			got, ok = big.NewRat(int64(of(t)), 1), true
		}
	}
	if !ok || want == nil {
		return false
	}
	switch c := got.Cmp(want); {
	case mod("lt"):
		return c < 0
	case mod("lte"):
		return c <= 0
	case mod("gt"):
		return c > 0
	case mod("gte"):
		return c >= 0
	default:
		return c == 0
	}
}

var (
	oracleEpoch = regexp.MustCompile(`^([0-9]{9,19})(\.[0-9]*)?$`)
	oracleISO   = regexp.MustCompile(`^(\d{4})-(\d\d)-(\d\d)([Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,]\d*)?)? ?(?:[Zz]|([+-]\d\d):?(\d\d)?)?)?$`)
)

func oracleTime(s string) (time.Time, bool) {
	if m := oracleEpoch.FindStringSubmatch(s); m != nil {
		n, err := strconv.ParseInt(m[1], 10, 64)
		switch l := len(m[1]); {
		case l >= 18:
			n /= 1e9
		case l >= 15:
			n /= 1e6
		case l >= 12:
			n /= 1e3
		}
		return time.Unix(n, 0).UTC(), err == nil
	}
	m := oracleISO.FindStringSubmatch(s)
	if m == nil {
		return time.Time{}, false
	}
	var n [10]int
	for i := range m {
		n[i], _ = strconv.Atoi(m[i])
	}
	if strings.HasPrefix(m[8], "-") {
		n[9] = -n[9]
	}
	date := time.Date(n[1], time.Month(n[2]), n[3], 0, 0, 0, 0, time.UTC)
	if date.Month() != time.Month(n[2]) || date.Day() != n[3] || n[5] > 23 || n[6] > 59 || n[7] > 60 {
		return time.Time{}, false
	}
	return time.Date(n[1], time.Month(n[2]), n[3], n[5]-n[8], n[6]-n[9], n[7], 0, time.UTC), true
}

// expand replaces the placeholders one at a time.
func (q oracle) expand(s string, raw bool) []string {
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
			continue
		}
		end := strings.IndexByte(s[min(i+1, len(s)):], '%')
		if s[i] != '%' || end < 1 {
			continue
		}
		var out []string
		for _, v := range q.options.Placeholders[s[i+1:i+1+end]] {
			if raw {
				v = strings.NewReplacer(`\*`, `(?s:.*)`, `\?`, `(?s:.)`).Replace(regexp.QuoteMeta(v))
			}
			for _, rest := range q.expand(s[i+end+2:], raw) {
				out = append(out, strings.ReplaceAll(s[:i], `\%`, `%`)+v+rest)
			}
		}
		return out
	}
	return []string{strings.ReplaceAll(s, `\%`, `%`)}
}
