package sigma

import (
	"math"
	"strings"
)

// A witness of a rule is a set of atoms that the rule can't fire without: in
// an event that the rule fires on, at least one of the atoms stirs, that is,
// one of its literals is found or, for atoms without literals, its field is
// present. A rule with no atoms in its witness must always be evaluated.
type witness struct {
	atoms []int32
	// chance is the estimate of how many of a thousand events stir it.
	chance float64
}

// unwitnessed is the chance of what has no witness.
var unwitnessed = math.Inf(1)

const (
	presence = 700 // chance that a field is present
	maxStirs = 900 // chance at which a witness is worth no more than none
	byNumber = 20
)

type weigher struct {
	*shared
	freq *frequencies
}

// witness returns the best witness of e or, if negated, of not e.
func (w weigher) witness(e *expr, negated bool) witness {
	switch {
	case e.op == exprIs:
		return w.atom(e.atom, negated)
	case e.op == exprNot:
		return w.witness(&e.kids[0], !negated)
	case e.op == exprAnd != negated: // all must hold: any one's witness will do
		best := witness{chance: unwitnessed}
		for i := range e.kids {
			if k := w.witness(&e.kids[i], negated); k.chance < best.chance {
				best = k
			}
		}
		return best
	}
	var sum witness // any may hold: all their witnesses are needed
	for i := range e.kids {
		k := w.witness(&e.kids[i], negated)
		if math.IsInf(k.chance, 1) {
			return k
		}
		sum.chance += k.chance
		sum.atoms = append(sum.atoms, k.atoms...)
	}
	return sum
}

func (w weigher) atom(id int32, negated bool) witness {
	a := &w.atoms[id]
	chance := unwitnessed
	switch {
	case negated:
		// Only what holds for a missing field asks for one when it doesn't hold.
		if a.op == opNull || a.op == opExists && !a.want {
			chance = presence
		}
	case a.op == opNull, a.op == opExists && !a.want:
	default:
		chance = w.stirs(a)
		if a.field == anyField {
			chance *= 4
		}
	}
	return witness{atoms: []int32{id}, chance: chance}
}

// stirs estimates how often an atom stirs.
func (w weigher) stirs(a *atom) float64 {
	switch a.op {
	case opLiterals:
		sum := 0.0
		for _, l := range a.literals {
			sum += w.literal(l)
		}
		return min(sum, maxStirs)
	case opNumber:
		return float64(byNumber * len(a.numbers))
	case opGlob, opRegex:
		if set := w.gate(a); set != nil {
			return min(w.contained(set), presence)
		}
	}
	return presence
}

// gate returns the literals of which one must stand in the value for the glob
// or regex to match, nil if there are none.
func (w weigher) gate(a *atom) [][]byte {
	if a.op == opGlob {
		var best [][]byte
		for _, l := range a.gate {
			if set := [][]byte{l}; best == nil || w.contained(set) < w.contained(best) {
				best = set
			}
		}
		return best
	}
	if a.regex.ordered != nil {
		longest := ""
		for _, l := range a.regex.ordered {
			if len(l) > len(longest) {
				longest = l
			}
		}
		return [][]byte{[]byte(fold(longest))}
	}
	var best [][]byte
	for _, set := range a.regex.gates {
		if best == nil || w.contained(set) < w.contained(best) {
			best = set
		}
	}
	return best
}

func (w weigher) contained(set [][]byte) float64 {
	sum := 0.0
	for _, l := range set {
		sum += w.literal(literalTest{how: contains, text: l})
	}
	return sum
}

// literal estimates in how many of a thousand values a literal stands: less
// often the longer it is, more often the more rules know its rarest bytes.
func (w weigher) literal(l literalTest) float64 {
	n := len(l.text)
	if n == 0 {
		if l.how == equals {
			return 100
		}
		return presence
	}
	text := string(l.text)
	chance := 2.0
	switch {
	case n < 4:
		chance = [...]float64{900, 900, 500, 150}[n]
	case n < 12:
		chance = [...]float64{40, 25, 16, 10, 8, 6, 5, 4}[n-4]
	}
	if n >= 4 {
		at := w.freq.rarest(text, 4, 1)
		chance *= 1 + float64(min(w.freq.count(text, at), 1000))/10
	}
	switch l.how {
	case equals:
		chance /= 4
	case suffix, prefix:
		chance /= 2
	}
	if n >= 3 && strings.Contains(usual, text) {
		chance = max(chance, 300)
	}
	return min(chance, maxStirs)
}

// usual is a sample of what the values of ordinary events are made of, folded.
const usual = `c:\windows\system32\svchost.exe -k netsvcs -p -s c:\windows\system32\ c:\windows\syswow64\ ` +
	`c:\program files\ c:\program files (x86)\ c:\users\ \appdata\local\ \appdata\roaming\ \appdata\local\temp\ c:\programdata\ ` +
	`microsoft windows operating system microsoft corporation microsoft® windows® nt authority\system nt authority\network service ` +
	`\explorer.exe \cmd.exe \powershell.exe \rundll32.exe \services.exe \lsass.exe \wmiprvse.exe \conhost.exe \dllhost.exe ` +
	`cmd.exe powershell.exe c:\windows\system32\windowspowershell\v1.0\powershell.exe \ntdll.dll \kernelbase.dll \kernel32.dll ` +
	`hklm\software\microsoft\windows\currentversion\ hklm\system\currentcontrolset\services\ hku\s-1-5-21- \registry\machine\ ` +
	`dword (0x00000000) dword (0x00000001) binary data true false 0x1fffff 0x1000 0x1410 high medium system integrity ` +
	`https://www. http:// .com .local .dll .exe .log .tmp .ps1 get- set- new- write- param( function $_. -object -path ` +
	`/usr/bin/ /usr/sbin/ /bin/ /lib/ /etc/ /home/ /var/ /proc/ /tmp/ root bash`
