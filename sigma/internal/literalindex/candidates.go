package literalindex

// Candidates collects, for one event at a time, what is known about atoms and
// which rules must be evaluated: those of which an atom of the prefilter was
// found.
//
// An epoch identifies the event. State of another epoch is stale, so that
// nothing is cleared between events.
type Candidates struct {
	epoch  uint32
	atoms  []PrefilterAtom
	states []uint32 // by atom: epoch<<2 | AtomTruth
	queued []uint32 // by rule: the epoch in which it became a candidate
	rules  []int32
}

// A PrefilterAtom is an atom of prefilters whose literals an Index contains.
type PrefilterAtom struct {
	Atom  int32   // its number among the atoms of the rule set
	Rules []int32 // the rules of whose prefilter it is part
}

// An AtomTruth is what is known about an atom.
type AtomTruth uint32

// What an atom is known to be. Maybe is that of an atom that was found and not yet
// evaluated.
const (
	False AtomTruth = 0
	True  AtomTruth = 1
	Maybe AtomTruth = 2
)

// EpochLimit is the first number that is not an epoch.
const EpochLimit = 1 << 29

// Reset makes room for the atoms and rules of another rule set.
func (c *Candidates) Reset(atomCount, ruleCount int) {
	c.states = make([]uint32, atomCount)
	c.queued = make([]uint32, ruleCount)
}

// InvalidateEpochs is called before epochs are counted from 1 again.
func (c *Candidates) InvalidateEpochs() {
	clear(c.states)
	clear(c.queued)
}

// BeginEvent starts an event, for which postings refer to atoms.
func (c *Candidates) BeginEvent(epoch uint32, atoms []PrefilterAtom) {
	c.epoch, c.atoms, c.rules = epoch, atoms, c.rules[:0]
}

// Rules returns the candidates, in no order. The slice is valid until the next
// BeginEvent.
func (c *Candidates) Rules() []int32 { return c.rules }

// AddUnconditionalRules adds rules that are candidates in any case.
func (c *Candidates) AddUnconditionalRules(rules []int32) { c.rules = append(c.rules, rules...) }

// MarkFound notes that atoms were found.
func (c *Candidates) MarkFound(postings []Posting) {
	if len(postings) > 0 {
		c.markFound(postings)
	}
}

func (c *Candidates) markFound(postings []Posting) {
	for _, p := range postings {
		a := &c.atoms[p.Atom]
		found := Maybe
		if p.Exact {
			found = True
		}
		state := &c.states[a.Atom]
		if *state>>2 == c.epoch {
			if p.Exact {
				*state = c.epoch<<2 | uint32(True)
			}
			continue
		}
		*state = c.epoch<<2 | uint32(found)
		for _, r := range a.Rules {
			if c.queued[r] != c.epoch {
				c.queued[r] = c.epoch
				c.rules = append(c.rules, r)
			}
		}
	}
}

// Truth returns what is known about an atom, and whether anything is.
func (c *Candidates) Truth(atom int32) (truth AtomTruth, known bool) {
	state := c.states[atom]
	return AtomTruth(state & 3), state>>2 == c.epoch
}

// SetTruth notes whether an atom holds.
func (c *Candidates) SetTruth(atom int32, holds bool) {
	state := c.epoch << 2
	if holds {
		state |= uint32(True)
	}
	c.states[atom] = state
}
