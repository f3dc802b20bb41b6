package correlation

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// A savedState is what State keeps of a bucket of a deferred correlation. Its
// JSON is stored.
type savedState struct {
	Rule      string     `json:"rule"`
	Group     []string   `json:"values"`
	Watermark int64      `json:"to"`
	Emissions []emission `json:"fed,omitempty"`
}

// State returns which windows have been evaluated, in a form that only Restore
// reads. Another Correlator of the same rules continues where this one is if
// it is given the state first, and then the observations of the Retention.
func (c *Correlator) State() []byte {
	all := []savedState{}
	for _, s := range c.states {
		for _, b := range s.buckets {
			if b.hasWatermark {
				all = append(all, savedState{s.IDOrName(), b.group, b.watermark, b.emissions})
			}
		}
	}
	slices.SortFunc(all, func(x, y savedState) int {
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
	var all []savedState
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
		b.watermark, b.hasWatermark, b.emissions = saved.Watermark, true, saved.Emissions
		b.setRestored(saved.Emissions)
		for _, e := range saved.Emissions {
			c.bytes += e.bytes()
			b.emissionBytes += e.bytes()
			b.propagateToParents(c, e)
		}
	}
	c.matches = nil
	return nil
}
