package main

import (
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/store"
)

func newHunt() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hunt [QUERY]",
		Short: "Search the stored events, newest first, beside a running server",
		Example: `  picket hunt 'Image=*\powershell.exe and CommandLine~"(?i)-enc"'
  picket hunt --since 1h 'mimikatz or host=WS-042'`,
		Args: cobra.MaximumNArgs(1),
	}
	location := addStoreFlags(cmd)
	var since time.Duration
	addDurationFlag(cmd.Flags(), &since, "since", "only events of the last `AGE`, by their own time, such as 24h or 30d")
	limit := cmd.Flags().Int("limit", 100, "print at most `N` events; 0: all")
	asJSON := cmd.Flags().Bool("json", false, "print the events as received, one per line")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q := store.EventQuery{Limit: 500}
		if since > 0 {
			q.Since = time.Now().Add(-since)
		}
		if len(args) == 1 && args[0] != "" {
			var err error
			if q.Where, err = store.ParseQuery(args[0]); err != nil {
				return &usageError{err}
			}
		}
		return location.withStore(cmd, func(s store.Store) error { return hunt(cmd, s, q, *limit, *asJSON) })
	}
	return cmd
}

func hunt(cmd *cobra.Command, s store.Events, q store.EventQuery, limit int, asJSON bool) error {
	printed := 0
	for {
		if limit > 0 {
			q.Limit = min(500, limit-printed)
		}
		page, err := s.SearchEvents(cmd.Context(), q)
		if err != nil {
			return err
		}
		for i := range page.Events {
			ev := &page.Events[i]
			if asJSON {
				_, err = cmd.OutOrStdout().Write(slices.Concat(ev.Raw, []byte("\n")))
			} else {
				_, err = fprintfPrintable(cmd.OutOrStdout(), "%s  %-20s %-20s %s\n", formatTime(ev.Time), ev.Host, ev.Type, truncate(string(ev.Raw), 400))
			}
			if err != nil {
				return err
			}
		}
		printed += len(page.Events)
		if page.Next == "" || limit > 0 && printed >= limit {
			return nil
		}
		q.Cursor = page.Next
	}
}
