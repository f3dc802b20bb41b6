package mongostore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma/casefold"
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
	if len(statuses)+len(levels) > 0 {
		// With both, MongoDB merges the lists of all pairs of them, which the index
		// triage has in order.
		if len(statuses) == 0 {
			statuses = picket.AlertStatuses()
		}
		if len(levels) == 0 {
			levels = allLevels
		}
	}
	if len(statuses) > 0 {
		f = append(f, bsonElem("status", bson.D{bsonElem("$in", statuses)}))
	}
	if len(levels) > 0 {
		f = append(f, bsonElem("level", bson.D{bsonElem("$in", levels)}))
	}
	f = addEqual(f, "rule_id", q.RuleID)
	f = addEqual(f, "agent_id", q.AgentID)
	f = addEqual(f, "host", q.Host)
	switch {
	case q.Assignee == nil:
	case *q.Assignee == "":
		f = append(f, bsonElem("assignee", bson.D{bsonElem("$exists", false)}))
	default:
		f = addEqual(f, "assignee", *q.Assignee)
	}
	if q.Text != "" {
		f = append(f, bsonElem("fold", bson.Regex{Pattern: quoteText(q.Text)}))
	}
	lo, hi := store.TimeRangeMicros(q.Since, q.Until)
	if q.Cursor != "" {
		p, err := store.ParseCursor(store.AlertCursor, q.Cursor)
		if err != nil {
			return store.AlertPage{}, err
		}
		f, hi = append(f, afterPosition("us.last", p.A, "order", p.B)), min(hi, p.A+1)
	}
	f = append(f, elemBetween("us.last", lo, hi)...)
	limit := cmp.Or(max(q.Limit, 0), defaultLimit)
	var page store.AlertPage
	var last store.Cursor
	budget := store.NewPageBudget(limit)
	err := findUntil(ctx, s.alerts, f, func(d *alertDoc) bool {
		a := d.alert()
		if !budget.Take(store.ListedAlertSize(&a)) {
			page.Next = last.String()
			return false
		}
		last = store.Cursor{List: store.AlertCursor, A: d.US.Last, B: d.Order}
		page.Alerts = append(page.Alerts, a)
		return true
	}, options.Find().SetSort(bson.D{bsonElem("us.last", -1), bsonElem("order", -1)}).SetLimit(int64(limit)+1))
	return page, err
}

var allLevels = []string{"", "informational", "low", "medium", "high", "critical"}

// addEqual adds the condition that a field has a value, unless the value is "".
func addEqual(f bson.D, field, value string) bson.D {
	if value == "" {
		return f
	}
	return append(f, bsonElem(field, value))
}

// afterPosition is the condition that a document whose first field is at most a comes after
// a position in a list ordered by two fields, both descending.
func afterPosition(first string, a any, second string, b any) bson.E {
	return bsonElem("$or", bson.A{bson.D{bsonElem(first, bson.D{bsonElem("$lt", a)})}, bson.D{bsonElem(second, bson.D{bsonElem("$lt", b)})}})
}

// quoteText returns the regular expression that finds a text in folded text. A
// BSON pattern cannot contain a zero byte.
func quoteText(text string) string {
	return strings.ReplaceAll(regexp.QuoteMeta(casefold.String(text)), "\x00", `\x00`)
}

// Alert implements store.Alerts.
func (s *Store) Alert(ctx context.Context, id string) (picket.Alert, error) {
	d, err := findOne[alertDoc](ctx, s.alerts, byID(id))
	if err != nil {
		return picket.Alert{}, fmt.Errorf("read alert %s: %w", id, err)
	}
	return d.alert(), nil
}

// AlertCounts implements store.Alerts.
func (s *Store) AlertCounts(ctx context.Context) (store.AlertCounts, error) {
	c := store.NewAlertCounts()
	t, err := s.readTotals(ctx)
	if err != nil {
		return store.AlertCounts{}, fmt.Errorf("count alerts: %w", err)
	}
	for key, n := range t.Alerts {
		if status, level, _ := strings.Cut(key, " "); n != 0 {
			c.Add(picket.AlertStatus(status), keyToName(level), n)
		}
	}
	if c.TopRules, err = s.topRules(ctx); err != nil {
		return store.AlertCounts{}, fmt.Errorf("count alerts: %w", err)
	}
	return c, nil
}

// maxTopRules is how many rules AlertCounts lists.
const maxTopRules = 10

// topRules returns the rules with most matches in alerts that are not closed.
func (s *Store) topRules(ctx context.Context) ([]store.RuleCount, error) {
	sums, err := aggregate[counterDoc](ctx, s.counters, bson.A{
		bson.D{bsonElem("$match", idsFrom(rulePrefix))},
		bson.D{bsonElem("$group", bson.D{
			bsonElem("_id", "$rule"),
			bsonElem("open_alerts", bson.D{bsonElem("$sum", "$open_alerts")}), bsonElem("open_matches", bson.D{bsonElem("$sum", "$open_matches")}),
		})},
		bson.D{bsonElem("$match", bson.D{bsonElem("open_alerts", bson.D{bsonElem("$gt", 0)})})},
		bson.D{bsonElem("$sort", bson.D{bsonElem("open_matches", -1), bsonElem("_id", 1)})},
		bson.D{bsonElem("$limit", maxTopRules)},
	})
	if err != nil {
		return nil, err
	}
	var out []store.RuleCount
	newest := options.FindOne().SetSort(bson.D{bsonElem("us.last", -1), bsonElem("order", -1)}).SetProjection(bson.D{bsonElem("title", 1), bsonElem("level", 1)})
	for _, r := range sums {
		a, err := findOne[alertDoc](ctx, s.alerts, bson.D{bsonElem("rule_id", r.ID)}, newest)
		if err != nil && !errors.Is(err, picket.ErrNotFound) {
			return nil, err
		}
		out = append(out, store.RuleCount{RuleID: r.ID, Title: a.Title, Level: a.Level, Alerts: r.OpenAlerts, Matches: r.OpenMatches})
	}
	return out, nil
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
	f = addEqual(f, "alert", q.AlertID)
	f = addEqual(f, "rule_id", q.RuleID)
	f = addEqual(f, "agent_id", q.AgentID)
	f = addEqual(f, "event_id", q.EventID)
	if q.EventNamespace == store.NoEventNamespace {
		f = append(f, bsonElem("namespace", bson.D{bsonElem("$exists", false)}))
	} else {
		f = addEqual(f, "namespace", q.EventNamespace)
	}
	lo, hi := store.TimeRangeMicros(q.Since, q.Until)
	f = append(f, elemBetween("time_us", lo, hi)...)
	if q.Cursor != "" {
		p, err := store.ParseCursor(store.MatchCursor, q.Cursor)
		if err != nil {
			return store.MatchPage{}, err
		}
		f = append(f, bsonElem("order", bson.D{bsonElem("$lt", p.A)}))
	}
	limit := cmp.Or(max(q.Limit, 0), defaultLimit)
	var page store.MatchPage
	var last store.Cursor
	budget := store.NewPageBudget(limit)
	err := findUntil(ctx, s.matches, f, func(d *matchDoc) bool {
		m := d.match()
		if !budget.Take(store.ListedMatchSize(&m)) {
			page.Next = last.String()
			return false
		}
		last = store.Cursor{List: store.MatchCursor, A: d.Order}
		page.Matches = append(page.Matches, m)
		return true
	}, options.Find().SetSort(bson.D{bsonElem("order", -1)}).SetLimit(int64(limit)+1))
	return page, err
}
