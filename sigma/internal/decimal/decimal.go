// Package decimal compares numbers exactly, in the decimal notation in which
// JSON writes them.
package decimal

import (
	"strconv"
	"strings"

	"github.com/picket-edr/picket/sigma/internal/word"
)

// A Decimal is an exact decimal number: ±0.d1d2d3… × 10^exp, where d1 and the
// last digit are not zero, or zero if digits is empty. Digits may contain a
// dot, which has no meaning: parsing does not copy the text to remove it.
type Decimal struct {
	neg    bool
	digits string
	exp    int
}

// maxExponent is the largest exponent that is read.
const maxExponent = 1_000_000

// Parse reads a JSON number: no plus sign, no leading zeros, no hexadecimal,
// neither NaN nor infinity.
func Parse(s string) (d Decimal, ok bool) {
	if strings.HasPrefix(s, "-") {
		d.neg, s = true, s[1:]
	}
	whole := 0
	for whole < len(s) && isDigit(s[whole]) {
		whole++
	}
	if whole == 0 || whole > 1 && s[0] == '0' {
		return d, false
	}
	end := whole
	if end < len(s) && s[end] == '.' {
		for end++; end < len(s) && isDigit(s[end]); end++ {
		}
		if end == whole+1 {
			return d, false
		}
	}
	exp := 0
	if rest := s[end:]; rest != "" {
		if exp, ok = parseExponent(rest); !ok {
			return d, false
		}
	}
	digits := s[:end]
	d.exp = whole + exp
	for digits != "" && (digits[0] == '0' || digits[0] == '.') {
		// whole counts zeros before the dot, and not those after it.
		if digits[0] == '0' {
			d.exp--
		}
		digits = digits[1:]
	}
	if strings.IndexByte(s[:end], '.') >= 0 {
		digits = strings.TrimRight(strings.TrimRight(digits, "0"), ".")
	}
	digits = strings.TrimRight(digits, "0")
	if digits == "" {
		return Decimal{}, true
	}
	d.digits = digits
	return d, true
}

func parseExponent(s string) (exponent int, ok bool) {
	if s[0] != 'e' && s[0] != 'E' {
		return 0, false
	}
	s = s[1:]
	neg := false
	if s != "" && (s[0] == '+' || s[0] == '-') {
		neg, s = s[0] == '-', s[1:]
	}
	if s == "" {
		return 0, false
	}
	n := 0
	for i := range len(s) {
		if !isDigit(s[i]) || n > maxExponent {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	if neg {
		n = -n
	}
	return n, true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// Cmp compares d with e: it returns -1, 0 or 1.
func (d Decimal) Cmp(e Decimal) int {
	switch {
	case d.digits == "" && e.digits == "":
		return 0
	case d.digits == "":
		return applySign(!e.neg, -1)
	case e.digits == "":
		return applySign(!d.neg, 1)
	case d.neg != e.neg:
		return applySign(e.neg, 1)
	}
	c := 0
	switch {
	case d.exp < e.exp:
		c = -1
	case d.exp > e.exp:
		c = 1
	default:
		c = cmpSignificands(d.digits, e.digits)
	}
	return applySign(!d.neg, c)
}

func applySign(positive bool, comparison int) int {
	if positive {
		return comparison
	}
	return -comparison
}

func cmpSignificands(a, b string) int {
	i, j := 0, 0
	for {
		if i < len(a) && a[i] == '.' {
			i++
		}
		if j < len(b) && b[j] == '.' {
			j++
		}
		switch {
		case i == len(a) && j == len(b):
			return 0
		case i == len(a):
			return -1
		case j == len(b):
			return 1
		case a[i] < b[j]:
			return -1
		case a[i] > b[j]:
			return 1
		}
		i, j = i+1, j+1
	}
}

// Hash returns the same number for equal decimals.
func (d Decimal) Hash() uint64 {
	h := uint64(d.exp) * word.HashMultiplier64
	if d.neg {
		h++
	}
	for i := range len(d.digits) {
		if c := d.digits[i]; c != '.' {
			h = (h ^ uint64(c)) * word.HashMultiplier64
		}
	}
	return h
}

// Int returns the decimal as an int if it is a whole number of at most nine
// digits.
func (d Decimal) Int() (value int, ok bool) {
	if d.digits == "" {
		return 0, true
	}
	if d.exp < len(d.digits) || d.exp > 9 || strings.Contains(d.digits, ".") {
		return 0, false
	}
	n, err := strconv.Atoi(d.digits)
	for i := len(d.digits); i < d.exp; i++ {
		n *= 10
	}
	return applySign(!d.neg, n), err == nil
}

// String returns the decimal as a number, with an exponent if it is long. It
// is the same text for equal decimals, and no other.
func (d Decimal) String() string {
	s := strings.ReplaceAll(d.digits, ".", "")
	switch zeros := d.exp - len(s); {
	case s == "":
		return "0"
	case zeros >= 0 && zeros < 20:
		s += strings.Repeat("0", zeros)
	case d.exp > 0 && d.exp < len(s):
		s = s[:d.exp] + "." + s[d.exp:]
	default:
		s = "0." + s + "e" + strconv.Itoa(d.exp)
	}
	if d.neg {
		return "-" + s
	}
	return s
}
