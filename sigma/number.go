package sigma

import "strings"

// A decimal is an exact decimal number: ±0.d1d2d3… × 10^exp, with d1 and the
// last digit not zero, or zero when digits is empty. Digits may hold a dot,
// which means nothing any more.
type decimal struct {
	neg    bool
	digits string
	exp    int
}

// maxExponent bounds the exponents that are read as numbers.
const maxExponent = 1_000_000

// parseDecimal reads a JSON number literal: no plus sign, no leading zeros, no
// hexadecimal, neither NaN nor infinity. Anything else is no number.
func parseDecimal(s string) (d decimal, ok bool) {
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
		// A zero before the dot was counted by whole; one after it was not.
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
		return decimal{}, true
	}
	d.digits = digits
	return d, true
}

func parseExponent(s string) (int, bool) {
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

// cmp compares d with e as numbers.
func (d decimal) cmp(e decimal) int {
	switch {
	case d.digits == "" && e.digits == "":
		return 0
	case d.digits == "":
		return sign(!e.neg, -1)
	case e.digits == "":
		return sign(!d.neg, 1)
	case d.neg != e.neg:
		return sign(e.neg, 1)
	}
	c := 0
	switch {
	case d.exp < e.exp:
		c = -1
	case d.exp > e.exp:
		c = 1
	default:
		c = cmpDigits(d.digits, e.digits)
	}
	return sign(!d.neg, c)
}

func sign(positive bool, c int) int {
	if positive {
		return c
	}
	return -c
}

func cmpDigits(a, b string) int {
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

// hash returns a number that is the same for equal decimals.
func (d decimal) hash() uint64 {
	h := uint64(d.exp) * hashPrime
	if d.neg {
		h++
	}
	for i := range len(d.digits) {
		if c := d.digits[i]; c != '.' {
			h = (h ^ uint64(c)) * hashPrime
		}
	}
	return h
}

const hashPrime = 0x9E3779B97F4A7C15
