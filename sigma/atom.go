package sigma

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"

	"github.com/picket-edr/picket/sigma/internal/decimal"
	"github.com/picket-edr/picket/sigma/internal/literalindex"
	"github.com/picket-edr/picket/sigma/internal/regexprefilter"
)

// An atom is one test of the values of one field. Equal atoms of a RuleSet are
// shared, so that each is evaluated once per event.
type atom struct {
	op    atomOp
	field int32 // number of the field, or anyField
	cased bool  // literals and glob are compared with case

	literals     []literalindex.Literal // of opLiterals: any may match
	literalIndex *literalindex.Index    // of opLiterals, if there are many
	glob         *glob                  // of opGlob
	required     [][]byte               // of opGlob: folded literals that every match contains
	regex        *regexprefilter.Regex  // of opRegex
	numbers      []decimal.Decimal      // of opNumberEquals, any may be equal; of opCompare, the one
	compare      compareOp              // of opCompare
	part         timePart               // of opCompare: which part of a time is compared
	nets         []netip.Prefix         // of opCIDR: any may contain the address
	other        int32                  // of opFieldRef: number of the other field
	placement    literalindex.Placement // of opFieldRef
	want         bool                   // of opExists
}

// anyField is the field of keywords: all values of the event are tested.
const anyField = -1

type atomOp uint8

const (
	opLiterals atomOp = iota
	opAnyValue        // there is a value
	opGlob
	opRegex
	opNumberEquals
	opCompare
	opCIDR
	opNull
	opExists
	opFieldRef
)

type compareOp uint8

const (
	equal compareOp = iota
	less
	lessOrEqual
	greater
	greaterOrEqual
)

func (c compareOp) holds(comparison int) bool {
	switch c {
	case less:
		return comparison < 0
	case lessOrEqual:
		return comparison <= 0
	case greater:
		return comparison > 0
	case greaterOrEqual:
		return comparison >= 0
	}
	return comparison == 0
}

// findMatch returns the index of the first value of the event for which the atom
// holds, and whether the atom holds. The index is -1 if there is no such value.
func (a *atom) findMatch(v *eventView) (valueIndex int32, holds bool) {
	if a.field == anyField {
		for i := range v.values {
			if a.matches(v, int32(i)) {
				return int32(i), true
			}
		}
		return -1, false
	}
	first := v.firstValueIndex(a.field)
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
		for i, n := first, 0; i >= 0 && n < maxFieldRefValues; i, n = v.values[i].next, n+1 {
			for j, m := v.firstValueIndex(a.other), 0; j >= 0 && m < maxFieldRefValues; j, m = v.values[j].next, m+1 {
				if a.fieldRefHolds(v, i, j) {
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

// maxFieldRefValues is how many values of each of the two fields a fieldref compares, the
// first ones, because it compares each with each.
const maxFieldRefValues = 256

// fieldRefHolds reports whether a fieldref holds between two values.
func (a *atom) fieldRefHolds(v *eventView, leftIndex, rightIndex int32) bool {
	if v.values[leftIndex].Kind == Null || v.values[rightIndex].Kind == Null {
		return false
	}
	if a.cased {
		s, t := v.values[leftIndex].Text, v.values[rightIndex].Text
		switch a.placement {
		case literalindex.Equals:
			return s == t
		case literalindex.Prefix:
			return strings.HasPrefix(s, t)
		case literalindex.Suffix:
			return strings.HasSuffix(s, t)
		}
		return strings.Contains(s, t)
	}
	return a.placement.Match(v.foldedValue(leftIndex), v.foldedValue(rightIndex))
}

// matches reports whether the atom holds for value i alone. It never does for
// null.
func (a *atom) matches(v *eventView, valueIndex int32) bool {
	val := &v.values[valueIndex]
	if val.Kind == Null {
		return false
	}
	switch a.op {
	case opAnyValue:
		return true
	case opLiterals:
		b := v.valueBytes(valueIndex, a.cased)
		if a.literalIndex != nil {
			return a.literalIndex.ContainsAny(b, val.ascii)
		}
		for k := range a.literals {
			if a.literals[k].Match(b) {
				return true
			}
		}
	case opGlob:
		for _, l := range a.required {
			if !bytes.Contains(v.foldedValue(valueIndex), l) {
				return false
			}
		}
		return a.glob.match(v.valueBytes(valueIndex, a.cased))
	case opRegex:
		return a.regex.Match(val.Text, v.foldedValue(valueIndex))
	case opNumberEquals, opCompare:
		return a.matchesNumber(val)
	case opCIDR:
		addr, ok := parseIP(val.Text)
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

func (a *atom) matchesNumber(value *eventValue) bool {
	var d decimal.Decimal
	if a.part != noTimePart {
		t, ok := parseEventTime(value.Text)
		if !ok {
			return false
		}
		n := a.part.valueAt(t)
		if want, ok := a.numbers[0].Int(); ok {
			return a.compare.holds(n - want)
		}
		d, _ = decimal.Parse(strconv.Itoa(n))
	} else {
		var ok bool
		if d, ok = decimal.Parse(value.Text); !ok {
			return false
		}
	}
	for _, n := range a.numbers {
		if a.compare.holds(d.Cmp(n)) {
			return true
		}
	}
	return false
}
