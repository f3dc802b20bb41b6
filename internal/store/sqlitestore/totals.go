package sqlitestore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/picket-edr/picket/internal/store"
)

// Totals implements store.Events.
func (s *Store) Totals(ctx context.Context) (store.Totals, error) {
	var t store.Totals
	err := s.read.QueryRowContext(ctx, `SELECT stored, duplicate, matches, events, raw, page_count * page_size
		FROM counters, pragma_page_count, pragma_page_size`).
		Scan(&t.Stored, &t.Duplicate, &t.Matches, &t.Events, &t.RawBytes, &t.DiskBytes)
	if err != nil {
		return store.Totals{}, fmt.Errorf("read totals: %w", err)
	}
	return t, nil
}

// Activity implements store.Events. Minutes in which nothing came are left out.
func (s *Store) Activity(ctx context.Context, since, until time.Time) ([]store.MinuteCounts, error) {
	lo, hi := bounds(since, until)
	var out []store.MinuteCounts
	err := s.list(ctx, "SELECT minute, kind, name, n FROM rollup WHERE minute >= ? AND minute < ? ORDER BY minute", []any{lo, hi}, func(r *sql.Rows) error {
		var at, n int64
		var kind int
		var name string
		err := r.Scan(&at, &kind, &name, &n)
		start := fromMicros(at)
		if len(out) == 0 || !out[len(out)-1].Start.Equal(start) {
			out = append(out, store.MinuteCounts{Start: start, Events: make(map[string]int64), Alerts: make(map[string]int64)})
		}
		m := &out[len(out)-1]
		if kind == rollupEvents {
			m.Events[name] = n
		} else {
			m.Alerts[name] = n
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read activity: %w", err)
	}
	return out, nil
}

const hostColumns = "name, agent_id, os, first_seen, last_seen, events, alerts"

func scanHost(r rowScanner) (store.Host, error) {
	var h store.Host
	var first, last int64
	err := r.Scan(&h.Name, &h.AgentID, &h.OS, &first, &last, &h.Events, &h.Alerts)
	h.FirstSeen, h.LastSeen = fromMicros(first), fromMicros(last)
	return h, err
}

// Hosts implements store.Hosts.
func (s *Store) Hosts(ctx context.Context, text string, limit int, after string) (store.HostPage, error) {
	var f filter
	if text != "" {
		f.add("instr(folded, ?) > 0", foldText(text))
	}
	if after != "" {
		at, name, err := parseNamedCursor(cursorHosts, after)
		if err != nil {
			return store.HostPage{}, fmt.Errorf("list hosts: %w", err)
		}
		f.add("(last_seen, name) < (?, ?)", at, name)
	}
	limit = cmp.Or(max(limit, 0), defaultLimit)
	var page store.HostPage
	err := s.list(ctx, "SELECT "+hostColumns+" FROM hosts WHERE "+f.String()+" ORDER BY last_seen DESC, name DESC LIMIT ?", append(f.args, limit+1), func(r *sql.Rows) error {
		h, err := scanHost(r)
		if len(page.Hosts) == limit {
			last := page.Hosts[limit-1]
			page.Next = formatNamedCursor(cursorHosts, micros(last.LastSeen), last.Name)
			return err
		}
		page.Hosts = append(page.Hosts, h)
		return err
	})
	if err != nil {
		return store.HostPage{}, fmt.Errorf("list hosts: %w", err)
	}
	return page, nil
}

// Host implements store.Hosts.
func (s *Store) Host(ctx context.Context, name string) (store.Host, error) {
	h, err := scanHost(s.read.QueryRowContext(ctx, "SELECT "+hostColumns+" FROM hosts WHERE name = ?", name))
	if err != nil {
		return store.Host{}, fmt.Errorf("read host %s: %w", name, notFound(err))
	}
	return h, nil
}

// CountHosts implements store.Hosts.
func (s *Store) CountHosts(ctx context.Context, since time.Time) (total, online int64, err error) {
	err = s.read.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM hosts), (SELECT count(*) FROM hosts WHERE last_seen >= ?)", micros(since)).Scan(&total, &online)
	if err != nil {
		return 0, 0, fmt.Errorf("count hosts: %w", err)
	}
	return total, online, nil
}
