package correlation

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// A savedBucket is what State keeps of a bucket of a deferred correlation. Its
// JSON is stored.
type savedBucket struct {
	Rule       string            `json:"rule"`
	Group      []string          `json:"values"`
	Watermark  int64             `json:"to"`
	Propagated []propagatedMatch `json:"fed,omitempty"`
}

// State returns which windows have been evaluated, in a form that only Restore
// reads. Another Correlator of the same rules continues where this one is if
// it is given the state first, and then the observations of the Retention.
func (c *Correlator) State() []byte {
	all := []savedBucket{}
	for _, s := range c.states {
		for _, b := range s.buckets {
			if b.hasWatermark {
				all = append(all, savedBucket{s.IDOrName(), b.group, b.watermark, b.propagated})
			}
		}
	}
	slices.SortFunc(all, func(x, y savedBucket) int {
		return cmp.Or(cmp.Compare(x.Rule, y.Rule), slices.Compare(x.Group, y.Group))
	})
	data, err := json.Marshal(all)
	if err != nil {
		panic(err) // strings and numbers can be marshalled
	}
	return data
}

// Restore takes what State returned. It ignores the state of correlations that
// no longer exist.
func (c *Correlator) Restore(state []byte) error {
	var all []savedBucket
	if err := json.Unmarshal(state, &all); err != nil {
		return fmt.Errorf("restore correlations: %w", err)
	}
	for _, saved := range all {
		i := slices.IndexFunc(c.states, func(s *ruleState) bool { return s.IDOrName() == saved.Rule })
		if i < 0 || !c.states[i].deferred || len(c.states[i].GroupBy) != len(saved.Group) {
			continue
		}
		for k, v := range saved.Group {
			saved.Group[k] = ShortenValue(v)
		}
		b := c.findOrCreateBucket(c.states[i], saved.Group)
		b.watermark, b.hasWatermark, b.propagated = saved.Watermark, true, saved.Propagated
		b.setRestored(saved.Propagated)
		for _, e := range saved.Propagated {
			c.bytes += e.bytes()
			b.propagatedBytes += e.bytes()
			b.propagateToParents(c, e)
		}
	}
	c.matches = nil
	return nil
}
