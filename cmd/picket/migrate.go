package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/migrate"
	"github.com/picket-edr/picket/internal/store/mongostore"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
)

func newMigrate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate --data DIR --store mongodb://HOST/DATABASE",
		Short: "Copy the store of a data directory into MongoDB, or move a queue",
		Long: `Copies events, matches, alerts with their triage, hosts, counters, accounts and the
audit log of a data directory into an empty MongoDB database, and compares the two
at the end. Stop the server first. If the command is interrupted, run it again: it
continues where it stopped. The data directory is not changed. Sessions of the
console and the state of correlations are not copied.`,
		Example: `  picket migrate --data /var/lib/picket --store mongodb://db1,db2,db3/picket?replicaSet=rs0`,
		Args:    cobra.NoArgs,
	}
	cmd.AddCommand(newMigrateQueue())
	location := addStoreFlags(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print what was copied as JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if b, err := location.backend(); err != nil {
			return err
		} else if b.local {
			return usagef("migrate: --store names the MongoDB database to copy into")
		}
		dir, err := existingDataDir(location.data)
		if err != nil {
			return err
		}
		from, err := sqlitestore.Open(dir.eventsFile(), sqlitestore.Options{NoBackground: true})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, from.Close()) }()
		s, err := location.open(cmd.Context(), nil, true)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		abs, err := filepath.Abs(string(dir))
		if err != nil {
			return err
		}
		m := &migrate.Migration{From: from, To: s.(*mongostore.Store), Source: abs, Progress: cmd.ErrOrStderr()}
		got, err := m.Run(cmd.Context())
		if err != nil {
			return withMigrateHint(fmt.Errorf("migrate: %w", err))
		}
		if *asJSON {
			return printJSONLine(cmd.OutOrStdout(), got)
		}
		_, err = fprintfPrintable(cmd.OutOrStdout(), "copied and compared: %s, %s, %s, %s, %s, %s\n", quantity(got.Events, "event"),
			quantity(got.Matches, "match"), quantity(got.Alerts, "alert"), quantity(got.Hosts, "host"), quantity(got.Users, "user"), quantity(got.Tokens, "token"))
		return err
	}
	return cmd
}

func withMigrateHint(migrateErr error) error {
	switch {
	case errors.Is(migrateErr, migrate.ErrCopyOfOtherSource):
		return withHint(migrateErr, "give an empty database")
	case errors.Is(migrateErr, migrate.ErrTargetNotEmpty):
		return withHint(migrateErr, "copy before the first server uses it")
	case errors.Is(migrateErr, migrate.ErrInterrupted):
		return withHint(migrateErr, "the same command goes on where it was")
	}
	return migrateErr
}
