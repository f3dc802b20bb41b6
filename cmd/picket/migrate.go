package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/mongostore"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
)

func newMigrate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate --data DIR --store mongodb://HOST/DATABASE",
		Short: "Copy the store of a data directory into MongoDB",
		Long: `Copies events, matches, alerts with their triage, hosts, counters, accounts and the
audit log of a data directory into an empty MongoDB database, and compares the two
at the end. Stop the server first. Cut off, it goes on where it was. The data
directory is not changed; who is signed in, and what correlations have under way, is
not copied.`,
		Example: `  picket migrate --data /var/lib/picket --store mongodb://db1,db2,db3/picket?replicaSet=rs0`,
		Args:    cobra.NoArgs,
	}
	at := addStoreFlags(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print what was copied as JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if err := at.check(); err != nil {
			return err
		}
		if !at.remote() {
			return usagef("migrate: --store names the MongoDB database to copy into")
		}
		dir, err := existing(at.data)
		if err != nil {
			return err
		}
		from, err := sqlitestore.Open(dir.events(), sqlitestore.Options{NoBackground: true})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, from.Close()) }()
		s, err := at.open(cmd.Context(), nil, true)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		m := &migration{cmd: cmd, from: from, to: s.(*mongostore.Store)}
		if err := m.begin(dir); err != nil {
			return err
		}
		if err := m.copy(); err != nil {
			return hinted(fmt.Errorf("migrate: %w", err), "the same command goes on where it was")
		}
		got, err := m.verify()
		if err != nil {
			return fmt.Errorf("migrate: compare: %w", err)
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), got)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "copied and compared: %d events, %d matches, %d alerts, %d hosts, %d users, %d tokens\n",
			got.Events, got.Matches, got.Alerts, got.Hosts, got.Users, got.Tokens)
		return err
	}
	return cmd
}

// A migration is a copy under way.
type migration struct {
	cmd   *cobra.Command
	from  *sqlitestore.Store
	to    *mongostore.Store
	p     mongostore.MigrationProgress
	shown time.Time
}

func (m *migration) ctx() context.Context { return m.cmd.Context() }

// begin finds out where the copy is to go on, and refuses a database that has
// something of another origin in it.
func (m *migration) begin(dir dataDir) (err error) {
	if m.p, err = m.to.MigrationProgress(m.ctx()); err != nil {
		return err
	}
	abs, err := filepath.Abs(string(dir))
	if err != nil {
		return err
	}
	if m.p.Source != "" && m.p.Source != abs {
		return hinted(fmt.Errorf("migrate: the database holds a copy of %s: %w", m.p.Source, picket.ErrConflict), "give an empty database")
	}
	if m.p.Source == "" {
		empty, err := m.to.IsEmpty(m.ctx())
		if err != nil {
			return err
		}
		if !empty {
			return hinted(fmt.Errorf("migrate: the database is not empty: %w", picket.ErrConflict), "copy before the first server uses it")
		}
		m.p.Source = abs
	}
	return m.to.SaveMigrationProgress(m.ctx(), m.p)
}

// pageSize is how many records are copied at a time.
const pageSize = 1000

// copy does all stages that are not done.
func (m *migration) copy() error {
	stages := []struct {
		name string
		do   func() error
	}{
		{"events", m.events}, {"matches", m.matches}, {"hosts", m.hosts}, {"alerts", m.alerts}, {"accounts", m.accounts}, {"counters", m.counters},
	}
	at := 0
	for i, st := range stages {
		if st.name == m.p.Stage {
			at = i
		}
	}
	if m.p.Stage == "done" {
		return nil
	}
	for _, st := range stages[at:] {
		if m.p.Stage != st.name {
			m.p.Stage, m.p.Cursor, m.p.StageCount = st.name, "", 0
		}
		if err := st.do(); err != nil {
			return fmt.Errorf("%s: %w", st.name, err)
		}
	}
	m.p.Stage = "done"
	return m.to.SaveMigrationProgress(m.ctx(), m.p)
}

// step keeps that n more records are copied, and where the next begin.
func (m *migration) step(n int, next string) error {
	m.p.StageCount += int64(n)
	m.p.Cursor = next
	if time.Since(m.shown) > time.Second {
		m.shown = time.Now()
		fmt.Fprintf(m.cmd.ErrOrStderr(), "picket: %s: %d copied\n", m.p.Stage, m.p.StageCount)
	}
	return m.to.SaveMigrationProgress(m.ctx(), m.p)
}

func (m *migration) events() error {
	for {
		page, err := m.from.SearchEvents(m.ctx(), store.EventQuery{Limit: pageSize, Cursor: m.p.Cursor})
		if err != nil {
			return err
		}
		n, err := m.to.ImportEvents(m.ctx(), page.Events, m.p.BaseOrder-m.p.StageCount)
		if err != nil {
			return err
		}
		m.p.EventCount += n
		if err := m.step(len(page.Events), page.Next); err != nil || page.Next == "" {
			return err
		}
	}
}

func (m *migration) matches() error {
	for {
		page, err := m.from.Matches(m.ctx(), store.MatchQuery{Limit: pageSize, Cursor: m.p.Cursor})
		if err != nil {
			return err
		}
		if err := m.to.ImportMatches(m.ctx(), page.Matches, -1-m.p.StageCount); err != nil {
			return err
		}
		if err := m.step(len(page.Matches), page.Next); err != nil || page.Next == "" {
			return err
		}
	}
}

func (m *migration) hosts() error {
	for {
		page, err := m.from.Hosts(m.ctx(), "", pageSize, m.p.Cursor)
		if err != nil {
			return err
		}
		if err := m.to.ImportHosts(m.ctx(), page.Hosts); err != nil {
			return err
		}
		if err := m.step(len(page.Hosts), page.Next); err != nil || page.Next == "" {
			return err
		}
	}
}

func (m *migration) alerts() error {
	for {
		page, err := m.from.Alerts(m.ctx(), store.AlertQuery{Limit: pageSize, Cursor: m.p.Cursor})
		if err != nil {
			return err
		}
		kept := make(map[string]int64)
		for _, a := range page.Alerts {
			kept[a.ID] = min(a.Count, picket.AlertMatchLimit)
		}
		if err := m.to.ImportAlerts(m.ctx(), page.Alerts, kept, -1-m.p.StageCount); err != nil {
			return err
		}
		if err := m.step(len(page.Alerts), page.Next); err != nil || page.Next == "" {
			return err
		}
	}
}

func (m *migration) accounts() error {
	users, err := m.from.Users(m.ctx())
	if err != nil {
		return err
	}
	for _, u := range users {
		if err := m.to.PutUser(m.ctx(), u); err != nil {
			return err
		}
	}
	tokens, err := m.from.Tokens(m.ctx())
	if err != nil {
		return err
	}
	for _, t := range tokens {
		if err := m.to.AddToken(m.ctx(), t); err != nil && !errors.Is(err, picket.ErrConflict) {
			return err
		}
	}
	log, err := m.from.AuditLog(m.ctx(), math.MaxInt32)
	if err != nil {
		return err
	}
	slices.Reverse(log)
	if err := m.to.ImportAudit(m.ctx(), log, m.p.BaseOrder); err != nil {
		return err
	}
	return m.step(len(users)+len(tokens)+len(log), "")
}

func (m *migration) counters() error {
	minutes, err := m.from.Activity(m.ctx(), time.Time{}, time.Time{})
	if err != nil {
		return err
	}
	if err := m.to.ImportActivity(m.ctx(), minutes); err != nil {
		return err
	}
	t, err := m.from.Totals(m.ctx())
	if err != nil {
		return err
	}
	if err := m.to.ImportTotals(m.ctx(), t, m.p.EventCount); err != nil {
		return err
	}
	return m.step(len(minutes), "")
}
