package sqlitestore

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma"
)

const alertColumns = "n, kept, id, rule_id, title, level, tags, agent_id, host, status, assignee, count, first_seen, last_seen, opened, updated, notes"

// An alertRow is an alert as a row of alerts.
type alertRow struct {
	picket.Alert
	n, kept int64
}

func scanAlert(r rowScanner) (alertRow, error) {
	var a alertRow
	var tags, notes []byte
	var first, last, opened, updated int64
	err := r.Scan(&a.n, &a.kept, &a.ID, &a.RuleID, &a.Title, &a.Level, &tags, &a.AgentID, &a.Host, &a.Status, &a.Assignee,
		&a.Count, &first, &last, &opened, &updated, &notes)
	if err != nil {
		return a, err
	}
	a.FirstSeen, a.LastSeen, a.Opened, a.Updated = FromMicros(first), FromMicros(last), FromMicros(opened), FromMicros(updated)
	return a, errors.Join(json.Unmarshal(tags, &a.Tags), json.Unmarshal(notes, &a.Notes))
}

// A whereClause builds the WHERE of a list.
type whereClause struct {
	terms []string
	args  []any
}

func (f *whereClause) add(term string, args ...any) {
	f.terms = append(f.terms, term)
	f.args = append(f.args, args...)
}

// equal adds a term unless the value is "".
func (f *whereClause) equal(column, value string) {
	if value != "" {
		f.add(column+" = ?", value)
	}
}

func (f *whereClause) String() string {
	if len(f.terms) == 0 {
		return "1"
	}
	return strings.Join(f.terms, " AND ")
}

// in adds a term that one of the values is in the column.
func in[T any](f *whereClause, column string, values []T) {
	marks := strings.TrimSuffix(strings.Repeat("?,", len(values)), ",")
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = v
	}
	f.add(column+" IN ("+marks+")", args...)
}

// between adds a term for each bound that is not open.
func (f *whereClause) between(column string, lo, hi int64) {
	if lo > math.MinInt64 {
		f.add(column+" >= ?", lo)
	}
	if hi < math.MaxInt64 {
		f.add(column+" < ?", hi)
	}
}

// Alerts implements store.Alerts.
func (s *Store) Alerts(ctx context.Context, q store.AlertQuery) (store.AlertPage, error) {
	limit := cmp.Or(max(q.Limit, 0), defaultLimit)
	text, args, err := alertsQuery(q, limit+1)
	if err != nil {
		return store.AlertPage{}, fmt.Errorf("list alerts: %w", err)
	}
	var page store.AlertPage
	var last alertRow
	err = s.query(ctx, text, args, func(r *sql.Rows) error {
		a, err := scanAlert(r)
		if len(page.Alerts) == limit {
			page.Next = formatCursor(cursorAlerts, Micros(last.LastSeen), last.n)
			return err
		}
		last = a
		page.Alerts = append(page.Alerts, a.Alert)
		return err
	})
	if err != nil {
		return store.AlertPage{}, fmt.Errorf("list alerts: %w", err)
	}
	return page, nil
}

// alertsQuery returns the statement for a list of alerts. Where only statuses
// and levels select, it merges a list of each pair of them, which the index
// alerts_status has in order: however few alerts of how many these are, it
// reads no more than it returns. Otherwise that index is kept out (by the +).
func alertsQuery(q store.AlertQuery, limit int) (text string, args []any, err error) {
	var f whereClause
	f.equal("rule_id", q.RuleID)
	f.equal("agent_id", q.AgentID)
	f.equal("host", q.Host)
	if q.Text != "" {
		f.add("instr(folded, ?) > 0", foldText(q.Text))
	}
	lo, hi := bounds(q.Since, q.Until)
	f.between("last_seen", lo, hi)
	if q.Cursor != "" {
		at, err := parseCursor(cursorAlerts, q.Cursor, 2)
		if err != nil {
			return "", nil, err
		}
		f.add("(last_seen, n) < (?, ?)", at[0], at[1])
	}
	const from, order = "SELECT " + alertColumns + " FROM alerts WHERE ", " ORDER BY last_seen DESC, n DESC LIMIT ?"
	if len(q.Status)+len(q.Level) == 0 || q.RuleID+q.AgentID+q.Host+q.Text != "" {
		if len(q.Status) > 0 {
			in(&f, "+status", q.Status)
		}
		if len(q.Level) > 0 {
			in(&f, "+level", parseLevels(q.Level))
		}
		return from + f.String() + order, append(f.args, limit), nil
	}
	statuses, levels := allStatuses, parseLevels(q.Level)
	if len(q.Status) > 0 {
		statuses = slices.Compact(slices.Sorted(slices.Values(q.Status)))
	}
	if len(q.Level) == 0 {
		levels = allLevels
	}
	lists := []string{"SELECT * FROM (" + from + "0)"}
	for _, status := range statuses {
		for _, level := range levels {
			lists = append(lists, "SELECT * FROM ("+from+"status = ? AND level = ? AND "+f.String()+order+")")
			args = append(append(append(args, status, level), f.args...), limit)
		}
	}
	return strings.Join(lists, " UNION ALL ") + order, append(args, limit), nil
}

var (
	allStatuses = []picket.AlertStatus{picket.StatusOpen, picket.StatusInvestigating, picket.StatusResolved, picket.StatusFalsePositive}
	allLevels   = []sigma.Level{sigma.NoLevel, sigma.Informational, sigma.Low, sigma.Medium, sigma.High, sigma.Critical}
)

func parseLevels(names []string) []sigma.Level {
	out := []sigma.Level{}
	for l := sigma.Informational; l <= sigma.Critical; l++ {
		if slices.Contains(names, l.String()) {
			out = append(out, l)
		}
	}
	return out
}

// query calls f with each row of a query.
func (s *Store) query(ctx context.Context, q string, args []any, f func(*sql.Rows) error) error {
	if s.quit.Err() != nil {
		return errClosed
	}
	rows, err := s.readDB.QueryContext(ctx, q, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Alert implements store.Alerts.
func (s *Store) Alert(ctx context.Context, id string) (picket.Alert, error) {
	a, err := scanAlert(s.readDB.QueryRowContext(ctx, "SELECT "+alertColumns+" FROM alerts WHERE id = ?", id))
	if err != nil {
		return picket.Alert{}, fmt.Errorf("read alert %s: %w", id, notFound(err))
	}
	return a.Alert, nil
}

// notFound makes picket's error of the driver's.
func notFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return picket.ErrNotFound
	}
	return err
}

// AlertCounts implements store.Alerts.
func (s *Store) AlertCounts(ctx context.Context) (store.AlertCounts, error) {
	c := store.NewAlertCounts()
	err := s.query(ctx, "SELECT status, level, sum(alerts) FROM alert_stats GROUP BY status, level HAVING sum(alerts) > 0", nil, func(r *sql.Rows) error {
		var status picket.AlertStatus
		var level sigma.Level
		var n int64
		err := r.Scan(&status, &level, &n)
		c.Add(status, level.String(), n)
		return err
	})
	if err == nil {
		err = s.query(ctx, `SELECT rule_id, max(title), max(level), sum(alerts), sum(matches) FROM alert_stats
			WHERE status NOT IN (?, ?) GROUP BY rule_id HAVING sum(alerts) > 0 ORDER BY sum(matches) DESC, rule_id LIMIT 10`,
			[]any{picket.StatusResolved, picket.StatusFalsePositive}, func(r *sql.Rows) error {
				var rc store.RuleCount
				var level sigma.Level
				err := r.Scan(&rc.RuleID, &rc.Title, &level, &rc.Alerts, &rc.Matches)
				rc.Level = level.String()
				c.TopRules = append(c.TopRules, rc)
				return err
			})
	}
	if err != nil {
		return store.AlertCounts{}, fmt.Errorf("count alerts: %w", err)
	}
	return c, nil
}
