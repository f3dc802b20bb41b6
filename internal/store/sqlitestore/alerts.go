package sqlitestore

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
	"github.com/picket-edr/picket/sigma"
	"github.com/picket-edr/picket/sigma/casefold"
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
	a.FirstSeen, a.LastSeen, a.Opened, a.Updated = block.FromMicros(first), block.FromMicros(last), block.FromMicros(opened), block.FromMicros(updated)
	return a, errors.Join(json.Unmarshal(tags, &a.Tags), json.Unmarshal(notes, &a.Notes))
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
	budget := store.NewPageBudget(limit)
	err = s.query(ctx, text, args, func(r *sql.Rows) (bool, error) {
		a, err := scanAlert(r)
		if err != nil {
			return false, err
		}
		if !budget.Take(store.ListedAlertSize(&a.Alert)) {
			page.Next = store.Cursor{List: store.AlertCursor, A: block.Micros(last.LastSeen), B: last.n}.String()
			return false, nil
		}
		last = a
		page.Alerts = append(page.Alerts, a.Alert)
		return true, nil
	})
	if err != nil {
		return store.AlertPage{}, fmt.Errorf("list alerts: %w", err)
	}
	return page, nil
}

// alertsQuery returns the statement for a list of alerts. If only statuses and
// levels are selected, the statement merges the lists of all pairs of them, which
// the index alerts_status has in order; it then reads no more alerts than it
// returns. The lists have keys only, because SQLite keeps them in memory. Otherwise
// the + keeps SQLite from using that index.
func alertsQuery(q store.AlertQuery, limit int) (text string, args []any, err error) {
	var where whereClause
	where.addEqual("rule_id", q.RuleID)
	where.addEqual("agent_id", q.AgentID)
	where.addEqual("host", q.Host)
	if q.Assignee != nil {
		where.add("assignee = ?", *q.Assignee)
	}
	if q.Text != "" {
		where.add("instr(folded, ?) > 0", casefold.String(q.Text))
	}
	lo, hi := store.TimeRangeMicros(q.Since, q.Until)
	where.addBetween("last_seen", lo, hi)
	if q.Cursor != "" {
		at, err := store.ParseCursor(store.AlertCursor, q.Cursor)
		if err != nil {
			return "", nil, err
		}
		where.add("(last_seen, n) < (?, ?)", at.A, at.B)
	}
	const all, order = "SELECT " + alertColumns + " FROM alerts WHERE ", " ORDER BY last_seen DESC, n DESC LIMIT ?"
	if len(q.Status)+len(q.Level) == 0 || q.RuleID+q.AgentID+q.Host+q.Text != "" {
		if len(q.Status) > 0 {
			addIn(&where, "+status", q.Status)
		}
		if len(q.Level) > 0 {
			addIn(&where, "+level", parseLevels(q.Level))
		}
		return all + where.String() + order, append(where.args, limit), nil
	}
	statuses, levels := picket.AlertStatuses(), parseLevels(q.Level)
	if len(q.Status) > 0 {
		statuses = slices.Compact(slices.Sorted(slices.Values(q.Status)))
	}
	if len(q.Level) == 0 {
		levels = allLevels
	}
	const keys = "SELECT last_seen, n FROM alerts WHERE "
	lists := []string{"SELECT * FROM (" + keys + "0)"}
	for _, status := range statuses {
		for _, level := range levels {
			lists = append(lists, "SELECT * FROM ("+keys+"status = ? AND level = ? AND "+where.String()+order+")")
			args = append(append(append(args, status, level), where.args...), limit)
		}
	}
	// CROSS JOIN looks each alert up in the order of the keys. A further ORDER BY
	// would sort whole alerts in memory.
	page := "SELECT n AS key FROM (" + strings.Join(lists, " UNION ALL ") + order + ")"
	return "SELECT " + alertColumns + " FROM (" + page + ") CROSS JOIN alerts ON n = key", append(args, limit), nil
}

var allLevels = []sigma.Level{sigma.NoLevel, sigma.Informational, sigma.Low, sigma.Medium, sigma.High, sigma.Critical}

func parseLevels(names []string) []sigma.Level {
	out := []sigma.Level{}
	for l := sigma.Informational; l <= sigma.Critical; l++ {
		if slices.Contains(names, l.String()) {
			out = append(out, l)
		}
	}
	return out
}

// query calls f with each row of a query until it returns false.
func (s *Store) query(ctx context.Context, q string, args []any, f func(*sql.Rows) (bool, error)) error {
	return s.queryDB(ctx, s.readDB, q, args, f)
}

// queryLookupDB is query in lookupDB, for all rows.
func (s *Store) queryLookupDB(ctx context.Context, q string, args []any, f func(*sql.Rows) error) error {
	return s.queryDB(ctx, s.lookupDB, q, args, func(r *sql.Rows) (bool, error) { return true, f(r) })
}

func (s *Store) queryDB(ctx context.Context, db *sql.DB, q string, args []any, f func(*sql.Rows) (bool, error)) error {
	if s.quit.Err() != nil {
		return errClosed
	}
	rows, err := db.QueryContext(ctx, q, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if more, err := f(rows); err != nil || !more {
			return err
		}
	}
	return rows.Err()
}

// Alert implements store.Alerts.
func (s *Store) Alert(ctx context.Context, id string) (picket.Alert, error) {
	a, err := scanAlert(s.readDB.QueryRowContext(ctx, "SELECT "+alertColumns+" FROM alerts WHERE id = ?", id))
	if err != nil {
		return picket.Alert{}, fmt.Errorf("read alert %s: %w", id, mapNoRows(err))
	}
	return a.Alert, nil
}

// mapNoRows maps the driver's error for no rows to picket's.
func mapNoRows(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return picket.ErrNotFound
	}
	return err
}

// AlertCounts implements store.Alerts.
func (s *Store) AlertCounts(ctx context.Context) (store.AlertCounts, error) {
	c := store.NewAlertCounts()
	err := s.query(ctx, "SELECT status, level, sum(alerts) FROM alert_stats GROUP BY status, level HAVING sum(alerts) > 0", nil, func(r *sql.Rows) (bool, error) {
		var status picket.AlertStatus
		var level sigma.Level
		var n int64
		err := r.Scan(&status, &level, &n)
		c.Add(status, level.String(), n)
		return true, err
	})
	if err == nil {
		err = s.query(ctx, `SELECT rule_id, max(title), max(level), sum(alerts), sum(matches) FROM alert_stats
			WHERE status NOT IN (?, ?) GROUP BY rule_id HAVING sum(alerts) > 0 ORDER BY sum(matches) DESC, rule_id LIMIT 10`,
			[]any{picket.StatusResolved, picket.StatusFalsePositive}, func(r *sql.Rows) (bool, error) {
				var rc store.RuleCount
				var level sigma.Level
				err := r.Scan(&rc.RuleID, &rc.Title, &level, &rc.Alerts, &rc.Matches)
				rc.Level = level.String()
				c.TopRules = append(c.TopRules, rc)
				return true, err
			})
	}
	if err != nil {
		return store.AlertCounts{}, fmt.Errorf("count alerts: %w", err)
	}
	return c, nil
}
