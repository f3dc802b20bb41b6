package sigma

import (
	"slices"
)

// clone copies a search down to its items, whose values are never changed in
// place.
func (s *search) clone() search {
	c := *s
	c.detections = slices.Clone(s.detections)
	for i := range c.detections {
		d := &c.detections[i]
		d.alternatives = slices.Clone(d.alternatives)
		for k := range d.alternatives {
			d.alternatives[k] = slices.Clone(d.alternatives[k])
		}
	}
	c.conditions = slices.Clone(s.conditions)
	return c
}

// finish forgets what was applied to items, and takes searches that nothing is
// left of out of the conditions.
func (s *search) finish() *lineError {
	for i := range s.detections {
		d := &s.detections[i]
		d.alternatives = slices.DeleteFunc(d.alternatives, func(all allOf) bool { return len(all) == 0 })
		for _, all := range d.alternatives {
			for k := range all {
				all[k].forget()
			}
		}
	}
	var conds []condition
	for _, c := range s.conditions {
		if c, ok := c.without(s.detections); ok {
			conds = append(conds, c)
		}
	}
	if conds == nil {
		return errorAt(place{}, "the pipeline leaves nothing of the detection")
	}
	s.conditions = conds
	return nil
}

// without returns the condition without the detections that have no
// alternatives, and whether anything is left.
func (c condition) without(detections []detection) (condition, bool) {
	if c.op == condIs {
		return c, len(detections[c.detection].alternatives) > 0
	}
	var kids []condition
	for _, k := range c.kids {
		if k, ok := k.without(detections); ok {
			kids = append(kids, k)
		}
	}
	if len(kids) == 1 && c.op != condNot {
		return kids[0], true
	}
	c.kids = kids
	return c, len(kids) > 0
}

func (it *item) forget() {
	it.applied = nil
	for _, all := range it.nested {
		for k := range all {
			all[k].forget()
		}
	}
}
