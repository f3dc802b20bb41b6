package mongostore

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

const defaultLimit = 100

// Alerts implements store.Alerts.
func (s *Store) Alerts(ctx context.Context, q store.AlertQuery) (store.AlertPage, error) {
	page, err := s.listAlerts(ctx, q)
	if err != nil {
		return store.AlertPage{}, fmt.Errorf("list alerts: %w", err)
	}
	return page, nil
}

func (s *Store) listAlerts(ctx context.Context, q store.AlertQuery) (store.AlertPage, error) {
	f := bson.D{}
	statuses, levels := q.Status, q.Level
	if !s.ferret && len(statuses)+len(levels) > 0 {
		// With both, MongoDB merges a list of each pair of them, which the index
		// triage has in order.
		if len(statuses) == 0 {
			statuses = allStatuses
		}
		if len(levels) == 0 {
			levels = allLevels
		}
	}
	if len(statuses) > 0 {
		f = append(f, where("status", bson.D{where("$in", statuses)}))
	}
	if len(levels) > 0 {
		f = append(f, where("level", bson.D{where("$in", levels)}))
	}
	f = equal(f, "rule_id", q.RuleID)
	f = equal(f, "agent_id", q.AgentID)
	f = equal(f, "host", q.Host)
	if q.Text != "" {
		f = append(f, where("fold", bson.Regex{Pattern: quoteText(q.Text)}))
	}
	lo, hi := bounds(q.Since, q.Until)
	f = append(f, between("us.last", lo, hi)...)
	if q.Cursor != "" {
		p, err := parseCursor(cursorAlerts, q.Cursor)
		if err != nil {
			return store.AlertPage{}, err
		}
		f = append(f, after("us.last", p.a, "order", p.b))
	}
	limit := cmp.Or(max(q.Limit, 0), defaultLimit)
	docs, err := find[alertDoc](ctx, s.alerts, f,
		options.Find().SetSort(bson.D{where("us.last", -1), where("order", -1)}).SetLimit(int64(limit)+1))
	if err != nil {
		return store.AlertPage{}, err
	}
	var page store.AlertPage
	for i := range docs {
		if i == limit {
			page.Next = formatCursor(cursorAlerts, place{a: docs[i-1].US.Last, b: docs[i-1].Order})
			break
		}
		page.Alerts = append(page.Alerts, docs[i].alert())
	}
	return page, nil
}

var (
	allStatuses = []picket.AlertStatus{picket.StatusOpen, picket.StatusInvestigating, picket.StatusResolved, picket.StatusFalsePositive}
	allLevels   = []string{"", "informational", "low", "medium", "high", "critical"}
)

// equal adds a condition unless the value is "".
func equal(f bson.D, field, value string) bson.D {
	if value == "" {
		return f
	}
	return append(f, where(field, value))
}

// after selects what comes after a place in a list that is ordered by two
// fields, both descending.
func after(first string, a any, second string, b any) bson.E {
	return where("$or", bson.A{
		bson.D{where(first, bson.D{where("$lt", a)})},
		bson.D{where(first, a), where(second, bson.D{where("$lt", b)})},
	})
}

// quoteText is the regular expression for a text in folded text. A pattern of
// BSON can't hold a zero byte.
func quoteText(text string) string {
	return strings.ReplaceAll(regexp.QuoteMeta(store.Fold(text)), "\x00", `\x00`)
}

// Alert implements store.Alerts.
func (s *Store) Alert(ctx context.Context, id string) (picket.Alert, error) {
	d, err := one[alertDoc](ctx, s.alerts, byID(id))
	if err != nil {
		return picket.Alert{}, fmt.Errorf("read alert %s: %w", id, err)
	}
	return d.alert(), nil
}

// AlertCounts implements store.Alerts. It reads counters, not alerts.
func (s *Store) AlertCounts(ctx context.Context) (store.AlertCounts, error) {
	c := store.NewAlertCounts()
	t, err := s.readTotals(ctx)
	if err != nil {
		return store.AlertCounts{}, fmt.Errorf("count alerts: %w", err)
	}
	for _, st := range t.Alerts {
		if st.N == 0 {
			continue
		}
		c.Add(picket.AlertStatus(st.Status), st.Level, st.N)
	}
	top, err := find[ruleDoc](ctx, s.rules, bson.D{where("alerts", bson.D{where("$gt", 0)})},
		options.Find().SetSort(bson.D{where("matches", -1), where("_id", 1)}).SetLimit(10))
	if err != nil {
		return store.AlertCounts{}, fmt.Errorf("count alerts: %w", err)
	}
	for _, r := range top {
		c.TopRules = append(c.TopRules, store.RuleCount{RuleID: r.ID, Title: r.Title, Level: r.Level, Alerts: r.Alerts, Matches: r.Matches})
	}
	return c, nil
}

// Matches implements store.Alerts.
func (s *Store) Matches(ctx context.Context, q store.MatchQuery) (store.MatchPage, error) {
	page, err := s.listMatches(ctx, q)
	if err != nil {
		return store.MatchPage{}, fmt.Errorf("list matches: %w", err)
	}
	return page, nil
}

func (s *Store) listMatches(ctx context.Context, q store.MatchQuery) (store.MatchPage, error) {
	f := bson.D{}
	f = equal(f, "alert", q.AlertID)
	f = equal(f, "rule_id", q.RuleID)
	f = equal(f, "agent_id", q.AgentID)
	f = equal(f, "event_id", q.EventID)
	lo, hi := bounds(q.Since, q.Until)
	f = append(f, between("time_us", lo, hi)...)
	if q.Cursor != "" {
		p, err := parseCursor(cursorMatches, q.Cursor)
		if err != nil {
			return store.MatchPage{}, err
		}
		f = append(f, where("order", bson.D{where("$lt", p.a)}))
	}
	limit := cmp.Or(max(q.Limit, 0), defaultLimit)
	docs, err := find[matchDoc](ctx, s.matches, f, options.Find().SetSort(bson.D{where("order", -1)}).SetLimit(int64(limit)+1))
	if err != nil {
		return store.MatchPage{}, err
	}
	var page store.MatchPage
	for i := range docs {
		if i == limit {
			page.Next = formatCursor(cursorMatches, place{a: docs[i-1].Order})
			break
		}
		page.Matches = append(page.Matches, docs[i].match())
	}
	return page, nil
}
