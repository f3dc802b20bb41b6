package sqlitestore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore/block"
	"github.com/picket-edr/picket/sigma/casefold"
)

const hostColumns = "name, agent_id, os, first_seen, last_seen, events, alerts"

func scanHost(r rowScanner) (store.Host, error) {
	var h store.Host
	var first, last int64
	err := r.Scan(&h.Name, &h.AgentID, &h.OS, &first, &last, &h.Events, &h.Alerts)
	h.FirstSeen, h.LastSeen = block.FromMicros(first), block.FromMicros(last)
	return h, err
}

// Hosts implements store.Hosts.
func (s *Store) Hosts(ctx context.Context, text string, limit int, cursor string) (store.HostPage, error) {
	var where whereClause
	if text != "" {
		where.add("instr(folded, ?) > 0", casefold.String(text))
	}
	if cursor != "" {
		at, err := store.ParseCursor(store.HostCursor, cursor)
		if err != nil {
			return store.HostPage{}, fmt.Errorf("list hosts: %w", err)
		}
		name, agent, _ := strings.Cut(at.Name, store.HostKeySeparator)
		where.add("(last_seen, name, agent_id) < (?, ?, ?)", at.A, name, agent)
	}
	limit = cmp.Or(max(limit, 0), defaultLimit)
	var page store.HostPage
	budget := store.NewPageBudget(limit)
	err := s.query(ctx, "SELECT "+hostColumns+" FROM hosts WHERE "+where.String()+" ORDER BY last_seen DESC, name DESC, agent_id DESC LIMIT ?", append(where.args, limit+1), func(r *sql.Rows) (bool, error) {
		h, err := scanHost(r)
		if err != nil {
			return false, err
		}
		if !budget.Take(store.ListedHostSize(&h)) {
			last := page.Hosts[len(page.Hosts)-1]
			page.Next = store.Cursor{List: store.HostCursor, A: block.Micros(last.LastSeen), Name: last.Name + store.HostKeySeparator + last.AgentID}.String()
			return false, nil
		}
		page.Hosts = append(page.Hosts, h)
		return true, nil
	})
	if err != nil {
		return store.HostPage{}, fmt.Errorf("list hosts: %w", err)
	}
	return page, nil
}

// Host implements store.Hosts.
func (s *Store) Host(ctx context.Context, key store.HostKey) (store.Host, error) {
	h, err := scanHost(s.readDB.QueryRowContext(ctx, "SELECT "+hostColumns+" FROM hosts WHERE name = ? AND agent_id = ?", key.Name, key.AgentID))
	if err != nil {
		return store.Host{}, fmt.Errorf("read host %s: %w", key.Name, mapNoRows(err))
	}
	return h, nil
}

// CountHosts implements store.Hosts.
func (s *Store) CountHosts(ctx context.Context, since time.Time) (total, online int64, err error) {
	err = s.readDB.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM hosts), (SELECT count(*) FROM hosts WHERE last_seen >= ?)", block.Micros(since)).Scan(&total, &online)
	if err != nil {
		return 0, 0, fmt.Errorf("count hosts: %w", err)
	}
	return total, online, nil
}
