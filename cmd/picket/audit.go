package main

import (
	"fmt"
	"maps"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/audit"
	"github.com/picket-edr/picket/internal/store"
)

func newAudit() *cobra.Command {
	cmd := &cobra.Command{
		Use: "audit", Short: "List who did what, newest first", Args: cobra.NoArgs,
		Example: `  picket audit --actor user:ann
  picket audit --limit 0 --json
  picket audit verify`,
	}
	at := addStoreFlags(cmd)
	var q store.AuditQuery
	cmd.Flags().StringVar(&q.Actor, "actor", "", "only what `WHO` did, as in user:ann, api:NAME or cli:NAME")
	cmd.Flags().StringVar(&q.Action, "action", "", "only this `ACTION`, as in sign-in or alert.update")
	limit := addLimitFlag(cmd, 50, "list at most `N`")
	asJSON := cmd.Flags().Bool("json", false, "print JSON, one entry per line")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return at.withStore(cmd, func(s store.Store) error { return listAudit(cmd, s, q, *limit, *asJSON) })
	}
	cmd.AddCommand(newAuditVerify())
	return cmd
}

// listAudit prints at most limit entries; 0 means all.
func listAudit(cmd *cobra.Command, s store.AuditLog, q store.AuditQuery, limit int, asJSON bool) error {
	const page = 1000
	tw := newTable(cmd.OutOrStdout())
	filter := q
	for listed := 0; limit == 0 || listed < limit; {
		q.Limit = page
		if limit > 0 {
			q.Limit = min(page, limit-listed)
		}
		entries, err := s.AuditEntries(cmd.Context(), q)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if asJSON {
				err = printJSONLine(cmd.OutOrStdout(), e)
			} else {
				_, err = fprintfPrintable(tw, "%s\t%s\t%s\t%s\t%s\n", formatTime(e.Time), e.Actor, e.Action, e.Object, e.Detail)
			}
			if err != nil {
				return err
			}
		}
		if err := tw.Flush(); err != nil {
			return err
		}
		if listed += len(entries); listed == 0 {
			return printAuditChoices(cmd, s, filter)
		}
		if len(entries) < q.Limit {
			break
		}
		q.Before = entries[len(entries)-1].N
	}
	return nil
}

// maxAuditSample is how many entries, the newest, printAuditChoices reads.
const maxAuditSample = 10_000

// printAuditChoices prints a note with the actors and actions that the newest entries
// have, for a list that has none of those asked for.
func printAuditChoices(cmd *cobra.Command, s store.AuditLog, q store.AuditQuery) error {
	if q.Actor == "" && q.Action == "" {
		return nil
	}
	entries, err := s.AuditEntries(cmd.Context(), store.AuditQuery{Limit: maxAuditSample})
	if err != nil {
		return err
	}
	actors, actions := make(map[string]bool), make(map[string]bool)
	for _, e := range entries {
		actors[e.Actor], actions[e.Action] = true, true
	}
	for _, choice := range []struct {
		name, asked string
		there       map[string]bool
	}{{"actor", q.Actor, actors}, {"action", q.Action, actions}} {
		if choice.asked != "" && !choice.there[choice.asked] {
			const shown = 40
			names := slices.Sorted(maps.Keys(choice.there))
			more := ""
			if len(names) > shown {
				names, more = names[:shown], ", …"
			}
			fprintfPrintable(cmd.ErrOrStderr(), "picket: note: no entry has the %s %s; there are %s%s\n", choice.name, choice.asked, strings.Join(names, ", "), more)
		}
	}
	return nil
}

func newAuditVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use: "verify", Short: "Check that no entry of the audit log was changed or deleted", Args: cobra.NoArgs,
		Long: `Checks the chain of hashes from the newest entry to the oldest, and prints the hash of
the newest. Compare that with the process log, where each entry is logged with its
hash: whoever can write to the database can also make a new chain. A store in the data
directory also keeps the numbers of the oldest and the newest entry in events.db-audit,
so that entries missing at an end of the log show.`,
	}
	at := addStoreFlags(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return at.withStore(cmd, func(s store.Store) error {
			v, err := audit.Verify(cmd.Context(), s)
			if isDamage(err) {
				return withHint(fmt.Errorf("verify audit log: %w, or another program than picket has changed it", err),
					"copy the data directory away as evidence; then "+repairHint)
			}
			if err != nil {
				return err
			}
			if *asJSON {
				err = printJSONLine(cmd.OutOrStdout(), v)
			} else if v.Problem == "" {
				older := ""
				if v.Unchained > 0 {
					older = fmt.Sprintf("; %d older ones have no hash and cannot be checked", v.Unchained)
				}
				_, err = fprintfPrintable(cmd.OutOrStdout(), "%s, intact%s; newest hash %s\n", quantity(v.Entries, "entry"), older, v.Head)
			}
			if err == nil && v.Problem != "" {
				err = withHint(fmt.Errorf("verify audit log: %s", v.Problem), "picket audit --action doctor.repair shows whether a repair has lost entries")
			}
			return err
		})
	}
	return cmd
}

// addCLIAuditEntry records an action of the command line in the audit log.
func addCLIAuditEntry(cmd *cobra.Command, s store.AuditLog, action, object, detail string) error {
	_, err := s.AddAuditEntry(cmd.Context(), audit.NewEntry(time.Now(), "cli:"+userName(), action, object, detail))
	return err
}

// recordChanges records an action that has changed objects outside the store. If
// there is a store and it cannot be written to, it prints a warning: the action has
// been carried out.
func (l storeLocation) recordChanges(cmd *cobra.Command, action, detail string, objects ...string) {
	if _, err := l.existingDir(); err != nil {
		return // no server has been started yet
	}
	err := l.withStore(cmd, func(s store.Store) error {
		for _, object := range objects {
			if err := addCLIAuditEntry(cmd, s, action, object, detail); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		fprintfPrintable(cmd.ErrOrStderr(), "picket: warning: audit entry not stored: %v\n", err)
	}
}

// userName returns the operating system user who runs the program.
func userName() string {
	u, err := user.Current()
	if err != nil {
		return "unknown"
	}
	return u.Username
}
