// Package migrate copies the store of a data directory into MongoDB, and moves what one
// queue holds into another. What was interrupted continues where it stopped. At the end
// of a copy, the two stores are compared record by record.
//
// It uses two engines at once, as only cmd/picket does otherwise.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/mongostore"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
)

// A Migration is one copy. No server may use either store meanwhile.
type Migration struct {
	From *sqlitestore.Store
	To   *mongostore.Store
	// Source names the store that is copied, and is the same in every attempt.
	Source string
	// Progress receives a line a second about the copy.
	Progress io.Writer

	ctx      context.Context
	progress mongostore.MigrationProgress
	reported time.Time // when Progress last received a line
}

// Errors of Run that the user can act on. Both are picket.ErrConflict.
var (
	// ErrCopyOfOtherSource: the database holds a copy of another store.
	ErrCopyOfOtherSource = fmt.Errorf("the database holds a copy of another store: %w", picket.ErrConflict)
	// ErrTargetNotEmpty: the database holds data that was not copied.
	ErrTargetNotEmpty = fmt.Errorf("the database is not empty: %w", picket.ErrConflict)
	// ErrInterrupted: the copy stopped; Run continues it.
	ErrInterrupted = errors.New("the copy was interrupted")
)

// Run copies what has not been copied yet, and compares the stores.
func (m *Migration) Run(ctx context.Context) (VerifiedCounts, error) {
	m.ctx = ctx
	if err := m.beginOrResume(); err != nil {
		return VerifiedCounts{}, err
	}
	if err := m.copyAll(); err != nil {
		return VerifiedCounts{}, fmt.Errorf("%w: %w", ErrInterrupted, err)
	}
	r, err := m.verify()
	if err != nil {
		return r, fmt.Errorf("compare: %w", err)
	}
	return r, nil
}

// beginOrResume reads how far an earlier attempt came, and refuses a database with data
// of another origin.
func (m *Migration) beginOrResume() (err error) {
	if m.progress, err = m.To.MigrationProgress(m.ctx); err != nil {
		return err
	}
	switch m.progress.Source {
	case m.Source:
	case "":
		empty, err := m.To.IsEmpty(m.ctx)
		if err != nil {
			return err
		}
		if !empty {
			return ErrTargetNotEmpty
		}
		m.progress.Source = m.Source
	default:
		return fmt.Errorf("%s: %w", m.progress.Source, ErrCopyOfOtherSource)
	}
	return m.To.SaveMigrationProgress(m.ctx, m.progress)
}

// pageRecords is the number of records copied at a time.
const pageRecords = 1000

// copyAll runs the stages that are not done.
func (m *Migration) copyAll() error {
	stages := []struct {
		name string
		do   func() error
	}{
		{"events", m.copyEvents}, {"matches", m.copyMatches}, {"hosts", m.copyHosts}, {"alerts", m.copyAlerts}, {"accounts", m.copyAccountsAndAudit}, {"counters", m.copyCounters},
	}
	at := 0
	for i, st := range stages {
		if st.name == m.progress.Stage {
			at = i
		}
	}
	if m.progress.Stage == "done" {
		return nil
	}
	for _, st := range stages[at:] {
		if m.progress.Stage != st.name {
			m.progress.Stage, m.progress.Cursor, m.progress.StageCount = st.name, "", 0
		}
		if err := st.do(); err != nil {
			return fmt.Errorf("%s: %w", st.name, err)
		}
	}
	m.progress.Stage = "done"
	return m.To.SaveMigrationProgress(m.ctx, m.progress)
}

// checkpoint adds to the records copied so far, and saves where to continue.
func (m *Migration) checkpoint(copied int, nextCursor string) error {
	m.progress.StageCount += int64(copied)
	m.progress.Cursor = nextCursor
	if time.Since(m.reported) > time.Second {
		m.reported = time.Now()
		fmt.Fprintf(m.Progress, "picket: %s: %d copied\n", m.progress.Stage, m.progress.StageCount)
	}
	return m.To.SaveMigrationProgress(m.ctx, m.progress)
}

func (m *Migration) copyEvents() error {
	for {
		page, err := m.From.SearchEvents(m.ctx, store.EventQuery{Limit: pageRecords, Cursor: m.progress.Cursor})
		if err != nil {
			return err
		}
		n, err := m.To.ImportEvents(m.ctx, page.Events, m.progress.BaseOrder-m.progress.StageCount)
		if err != nil {
			return err
		}
		m.progress.EventCount += n
		if err := m.checkpoint(len(page.Events), page.Next); err != nil || page.Next == "" {
			return err
		}
	}
}

func (m *Migration) copyMatches() error {
	for {
		page, err := m.From.Matches(m.ctx, store.MatchQuery{Limit: pageRecords, Cursor: m.progress.Cursor})
		if err != nil {
			return err
		}
		if err := m.To.ImportMatches(m.ctx, page.Matches, -1-m.progress.StageCount); err != nil {
			return err
		}
		if err := m.checkpoint(len(page.Matches), page.Next); err != nil || page.Next == "" {
			return err
		}
	}
}

func (m *Migration) copyHosts() error {
	for {
		page, err := m.From.Hosts(m.ctx, "", pageRecords, m.progress.Cursor)
		if err != nil {
			return err
		}
		if err := m.To.ImportHosts(m.ctx, page.Hosts); err != nil {
			return err
		}
		if err := m.checkpoint(len(page.Hosts), page.Next); err != nil || page.Next == "" {
			return err
		}
	}
}

func (m *Migration) copyAlerts() error {
	for {
		page, err := m.From.Alerts(m.ctx, store.AlertQuery{Limit: pageRecords, Cursor: m.progress.Cursor})
		if err != nil {
			return err
		}
		kept := make(map[string]int64)
		for _, a := range page.Alerts {
			kept[a.ID] = min(a.Count, picket.MaxStoredMatchesPerAlert)
		}
		if err := m.To.ImportAlerts(m.ctx, page.Alerts, kept, -1-m.progress.StageCount); err != nil {
			return err
		}
		if err := m.checkpoint(len(page.Alerts), page.Next); err != nil || page.Next == "" {
			return err
		}
	}
}

func (m *Migration) copyAccountsAndAudit() error {
	users, err := m.From.Users(m.ctx)
	if err != nil {
		return err
	}
	for _, u := range users {
		if err := m.To.PutUser(m.ctx, u); err != nil {
			return err
		}
	}
	tokens, err := m.From.Tokens(m.ctx)
	if err != nil {
		return err
	}
	for _, t := range tokens {
		if err := m.To.AddToken(m.ctx, t); err != nil && !errors.Is(err, picket.ErrConflict) {
			return err
		}
	}
	// With another secret, events without ids that are sent again would be stored again.
	secret, err := m.From.Secret(m.ctx, store.EventIDSecret)
	if err != nil {
		return err
	}
	if err := m.To.ImportSecret(m.ctx, store.EventIDSecret, secret); err != nil {
		return err
	}
	log, err := m.From.AuditEntries(m.ctx, store.AuditQuery{Limit: math.MaxInt32})
	if err != nil {
		return err
	}
	slices.Reverse(log)
	if err := m.To.ImportAudit(m.ctx, log, m.progress.BaseOrder); err != nil {
		return err
	}
	return m.checkpoint(len(users)+len(tokens)+len(log), "")
}

func (m *Migration) copyCounters() error {
	minutes, err := m.From.Activity(m.ctx, time.Time{}, time.Time{})
	if err != nil {
		return err
	}
	if err := m.To.ImportActivity(m.ctx, minutes); err != nil {
		return err
	}
	t, err := m.From.Totals(m.ctx)
	if err != nil {
		return err
	}
	if err := m.To.ImportTotals(m.ctx, t, m.progress.EventCount); err != nil {
		return err
	}
	return m.checkpoint(len(minutes), "")
}
