package store

import (
	"context"
	"time"
)

// RuleHits are what a rule has found.
type RuleHits struct {
	Alerts  int       `json:"alerts"`
	Open    int       `json:"open"` // alerts that are not closed
	Matches int64     `json:"matches"`
	Last    time.Time `json:"last,omitzero"` // the time of the last match
	// Partial: there are older alerts, which were not counted.
	Partial bool `json:"partial"`
}

// maxCountedAlerts is how many alerts of a rule CountRuleHits counts, the newest first.
const maxCountedAlerts = 1000

// CountRuleHits counts the newest alerts of a rule.
func CountRuleHits(ctx context.Context, alerts interface {
	Alerts(ctx context.Context, q AlertQuery) (AlertPage, error)
}, ruleID string) (RuleHits, error) {
	var hits RuleHits
	q := AlertQuery{RuleID: ruleID, Limit: maxCountedAlerts}
	for {
		page, err := alerts.Alerts(ctx, q)
		if err != nil {
			return hits, err
		}
		for i := range page.Alerts {
			a := &page.Alerts[i]
			hits.Alerts++
			hits.Matches += a.Count
			if !a.Status.Closed() {
				hits.Open++
			}
			if a.LastSeen.After(hits.Last) {
				hits.Last = a.LastSeen
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" || hits.Alerts >= maxCountedAlerts {
			hits.Partial = q.Cursor != ""
			return hits, nil
		}
	}
}
