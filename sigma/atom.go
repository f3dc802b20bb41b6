package sigma

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
)

// An atom is one question about the values of one field. Equal atoms of a
// RuleSet are one, so that it is answered once per event.
type atom struct {
	op    op
	field int32 // id of the field, or anyField
	cased bool  // literals and glob are compared as they are, not folded

	literals []literalTest  // of opLiterals: any may hold
	set      *fieldIndex    // of opLiterals, where there are many
	glob     *glob          // of opGlob
	gate     [][]byte       // of opGlob: folded literals that a match contains
	regex    *regex         // of opRegex
	numbers  []decimal      // of opNumber, any may be equal; of opCompare, the one
	compare  compareOp      // of opCompare
	part     timePart       // of opCompare: what to take from the time first
	nets     []netip.Prefix // of opCIDR: any may contain the address
	other    int32          // of opFieldRef: id of the other field
	how      how            // of opFieldRef
	want     bool           // of opExists
}

// anyField is the field of a keyword: any value of the event will do.
const anyField = -1

type op uint8

const (
	opLiterals op = iota
	opAny         // there is a value
	opGlob
	opRegex
	opNumber
	opCompare
	opCIDR
	opNull
	opExists
	opFieldRef
)

// how says where in the value a literal must stand.
type how uint8

const (
	equals how = iota
	prefix
	suffix
	contains
)

// holds reports whether literal stands in b as h says.
func (h how) holds(b, literal []byte) bool {
	switch h {
	case equals:
		return bytes.Equal(b, literal)
	case prefix:
		return bytes.HasPrefix(b, literal)
	case suffix:
		return bytes.HasSuffix(b, literal)
	}
	return bytes.Contains(b, literal)
}

type literalTest struct {
	how    how
	text   []byte // folded, unless the atom is cased
	needle needle // of contains, once compiled
}

// holds reports whether the literal stands in b where it must.
func (l *literalTest) holds(b []byte) bool {
	if l.how == contains {
		return l.needle.in(b)
	}
	return l.how.holds(b, l.text)
}

type compareOp uint8

const (
	equal compareOp = iota
	less
	lessOrEqual
	greater
	greaterOrEqual
)

func (c compareOp) holds(cmp int) bool {
	switch c {
	case less:
		return cmp < 0
	case lessOrEqual:
		return cmp <= 0
	case greater:
		return cmp > 0
	case greaterOrEqual:
		return cmp >= 0
	}
	return cmp == 0
}

// find returns the index of the first value of the event that answers the
// atom, and whether the atom holds. The index is -1 where no value does.
func (a *atom) find(v *view) (int32, bool) {
	if a.field == anyField {
		for i := range v.values {
			if a.matches(v, int32(i)) {
				return int32(i), true
			}
		}
		return -1, false
	}
	first := v.first(a.field)
	switch a.op {
	case opExists:
		return first, (first >= 0) == a.want
	case opNull:
		for i := first; i >= 0; i = v.values[i].next {
			if v.values[i].Kind == Null {
				return i, true
			}
		}
		return -1, first < 0
	case opFieldRef:
		for i := first; i >= 0; i = v.values[i].next {
			for j := v.first(a.other); j >= 0; j = v.values[j].next {
				if a.refers(v, i, j) {
					return i, true
				}
			}
		}
		return -1, false
	}
	for i := first; i >= 0; i = v.values[i].next {
		if a.matches(v, i) {
			return i, true
		}
	}
	return -1, false
}

// refers reports whether value i relates to value j as a fieldref asks.
func (a *atom) refers(v *view, i, j int32) bool {
	if v.values[i].Kind == Null || v.values[j].Kind == Null {
		return false
	}
	if a.cased {
		s, t := v.values[i].Text, v.values[j].Text
		switch a.how {
		case equals:
			return s == t
		case prefix:
			return strings.HasPrefix(s, t)
		case suffix:
			return strings.HasSuffix(s, t)
		}
		return strings.Contains(s, t)
	}
	return a.how.holds(v.folded(i), v.folded(j))
}

// matches reports whether value i alone answers the atom. A null never does.
func (a *atom) matches(v *view, i int32) bool {
	val := &v.values[i]
	if val.Kind == Null {
		return false
	}
	switch a.op {
	case opAny:
		return true
	case opLiterals:
		b := v.bytes(i, a.cased)
		if a.set != nil {
			return a.set.holds(b, val.ascii)
		}
		for k := range a.literals {
			if a.literals[k].holds(b) {
				return true
			}
		}
	case opGlob:
		for _, l := range a.gate {
			if !bytes.Contains(v.folded(i), l) {
				return false
			}
		}
		return a.glob.match(v.bytes(i, a.cased))
	case opRegex:
		return a.regex.match(val.Text, v.folded(i))
	case opNumber, opCompare:
		return a.matchesNumber(val)
	case opCIDR:
		addr, ok := parseAddr(val.Text)
		if !ok {
			return false
		}
		for _, n := range a.nets {
			if n.Contains(addr) {
				return true
			}
		}
	}
	return false
}

func (a *atom) matchesNumber(val *viewValue) bool {
	var d decimal
	if a.part != noTimePart {
		t, ok := parseTime(val.Text)
		if !ok {
			return false
		}
		n := a.part.of(t)
		if want, ok := a.numbers[0].small(); ok {
			return a.compare.holds(n - want)
		}
		d, _ = parseDecimal(strconv.Itoa(n))
	} else {
		var ok bool
		if d, ok = parseDecimal(val.Text); !ok {
			return false
		}
	}
	for _, n := range a.numbers {
		if a.compare.holds(d.cmp(n)) {
			return true
		}
	}
	return false
}

// small returns the decimal as an int if it is a small whole number.
func (d decimal) small() (int, bool) {
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
	return sign(!d.neg, n), err == nil
}
