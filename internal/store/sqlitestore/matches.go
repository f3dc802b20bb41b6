package sqlitestore

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
)

// Matches implements store.Alerts.
func (s *Store) Matches(ctx context.Context, q store.MatchQuery) (store.MatchPage, error) {
	var where whereClause
	if q.AlertID != "" {
		where.add("alert = (SELECT n FROM alerts WHERE id = ?)", q.AlertID)
	}
	where.addEqual("m.rule_id", q.RuleID)
	where.addEqual("m.agent_id", q.AgentID)
	where.addEqual("m.event_id", q.EventID)
	if q.EventNamespace == store.NoEventNamespace {
		where.add("m.event_namespace = ''")
	} else {
		where.addEqual("m.event_namespace", q.EventNamespace)
	}
	lo, hi := store.TimeRangeMicros(q.Since, q.Until)
	where.addBetween("m.time", lo, hi)
	if q.Cursor != "" {
		at, err := store.ParseCursor(store.MatchCursor, q.Cursor)
		if err != nil {
			return store.MatchPage{}, fmt.Errorf("list matches: %w", err)
		}
		where.add("m.n < ?", at.A)
	}
	limit := cmp.Or(max(q.Limit, 0), defaultLimit)
	var page store.MatchPage
	var last int64
	budget := store.NewPageBudget(limit)
	err := s.query(ctx, `SELECT m.n, m.id, m.rule_id, a.id, m.event_id, m.event_namespace, m.agent_id, m.time, m.why
		FROM matches m JOIN alerts a ON a.n = m.alert WHERE `+where.String()+" ORDER BY m.n DESC LIMIT ?", append(where.args, limit+1),
		func(r *sql.Rows) (bool, error) {
			var m picket.Match
			var n, at int64
			var why []byte
			err := r.Scan(&n, &m.ID, &m.RuleID, &m.AlertID, &m.EventID, &m.EventNamespace, &m.AgentID, &at, &why)
			if err == nil {
				err = json.Unmarshal(why, &m.Why)
			}
			if err != nil {
				return false, err
			}
			if !budget.Take(store.ListedMatchSize(&m)) {
				page.Next = store.Cursor{List: store.MatchCursor, A: last}.String()
				return false, nil
			}
			m.Time = block.FromMicros(at)
			last = n
			page.Matches = append(page.Matches, m)
			return true, nil
		})
	if err != nil {
		return store.MatchPage{}, fmt.Errorf("list matches: %w", err)
	}
	return page, nil
}
