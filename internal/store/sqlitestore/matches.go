package sqlitestore

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

// Matches implements store.Alerts.
func (s *Store) Matches(ctx context.Context, q store.MatchQuery) (store.MatchPage, error) {
	var f whereClause
	if q.AlertID != "" {
		f.add("alert = (SELECT n FROM alerts WHERE id = ?)", q.AlertID)
	}
	f.equal("m.rule_id", q.RuleID)
	f.equal("m.agent_id", q.AgentID)
	f.equal("m.event_id", q.EventID)
	lo, hi := bounds(q.Since, q.Until)
	f.between("m.time", lo, hi)
	if q.Cursor != "" {
		at, err := parseCursor(cursorMatches, q.Cursor, 1)
		if err != nil {
			return store.MatchPage{}, fmt.Errorf("list matches: %w", err)
		}
		f.add("m.n < ?", at[0])
	}
	limit := cmp.Or(max(q.Limit, 0), defaultLimit)
	var page store.MatchPage
	var last int64
	err := s.query(ctx, `SELECT m.n, m.id, m.rule_id, a.id, m.event_id, m.agent_id, m.time, m.why
		FROM matches m JOIN alerts a ON a.n = m.alert WHERE `+f.String()+" ORDER BY m.n DESC LIMIT ?", append(f.args, limit+1),
		func(r *sql.Rows) error {
			var m picket.Match
			var n, at int64
			var why []byte
			err := r.Scan(&n, &m.ID, &m.RuleID, &m.AlertID, &m.EventID, &m.AgentID, &at, &why)
			if len(page.Matches) == limit {
				page.Next = formatCursor(cursorMatches, last)
				return err
			}
			m.Time = FromMicros(at)
			last = n
			if err == nil {
				err = json.Unmarshal(why, &m.Why)
			}
			page.Matches = append(page.Matches, m)
			return err
		})
	if err != nil {
		return store.MatchPage{}, fmt.Errorf("list matches: %w", err)
	}
	return page, nil
}

// Event implements store.Events. It asks the id filter of each block, newest
// first, and reads the ids of those that may have it.
func (s *Store) Event(ctx context.Context, id string) (picket.Event, error) {
	ev, err := s.event(ctx, id)
	if err != nil {
		return picket.Event{}, fmt.Errorf("read event %s: %w", id, err)
	}
	return ev, nil
}

func (s *Store) event(ctx context.Context, id string) (picket.Event, error) {
	snap, err := s.snapshot(ctx)
	if err != nil {
		return picket.Event{}, err
	}
	defer snap.close()
	var found *picket.Event
	hash := idHash(id)
	err = snap.eachBlock(ctx, 0, maxSeq, func(b *block) (bool, error) {
		if b.indexed {
			f, err := b.read(partIDFilter)
			if err != nil || !idFilterMayHave(f, hash) {
				return true, errors.Join(err, ctx.Err())
			}
		}
		ids, err := b.ids()
		if err != nil {
			return false, err
		}
		var have []byte
		for row := ids.n - 1; row >= 0; row-- {
			if have = ids.AppendTo(have[:0], row); string(have) == id {
				found, err = s.eventAt(b, row)
				return false, err
			}
		}
		return true, nil
	})
	if err == nil && found == nil {
		err = picket.ErrNotFound
	}
	if err != nil {
		return picket.Event{}, err
	}
	return *found, nil
}

func (s *Store) eventAt(b *block, row int) (*picket.Event, error) {
	sc := s.searchers.get()
	defer s.searchers.put(sc)
	if err := sc.open(b); err != nil {
		return nil, b.fail(err)
	}
	first := 0
	for i, f := range sc.directory.frames {
		if row < first+f.rows {
			if err := sc.loadFrame(i, first); err != nil {
				return nil, b.fail(err)
			}
			ev, err := sc.event(row)
			return &ev, err
		}
		first += f.rows
	}
	return nil, b.fail(ErrCorrupt)
}
