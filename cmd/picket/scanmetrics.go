package main

import (
	"encoding/json"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/scan"
	"github.com/picket-edr/picket/internal/scanreport"
)

func newScanMetrics() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "metrics FILE|DIR...",
		Short: "Count the events in files, without rules",
		Long: `Counts the events in files by channel and event id, or type, and by host; logons and
failed logons of Windows by user, address and type; and lists the numbers of records
that are missing in event logs, as after a deletion. It reads what picket scan reads.`,
		Args: cobra.MinimumNArgs(1),
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON, with everything")
	limit := cmd.Flags().Int("limit", 50, "print at most `N` of each kind")
	zone := cmd.Flags().String("timezone", "UTC", "`ZONE` of the times: UTC, local, or a name such as Europe/Berlin")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		location, err := time.LoadLocation(zoneName(*zone))
		if err != nil {
			return usagef("--timezone %q: %w", *zone, err)
		}
		if *limit <= 0 {
			return usagef("--limit %d is not above 0", *limit)
		}
		m, failed := scanreport.NewMetrics(location), false
		err = scan.ReadFiles(cmd.Context(), args, new(scan.Progress), func(_ string, raw []byte) error {
			m.Add(raw)
			return nil
		}, func(err error) { failed = true; printProblem(cmd, err) })
		if err != nil {
			return err
		}
		if *asJSON {
			e := json.NewEncoder(cmd.OutOrStdout())
			e.SetIndent("", "  ")
			err = e.Encode(m.JSON())
		} else {
			err = m.Write(cmd.OutOrStdout(), *limit)
		}
		if err == nil && failed {
			return errSilent
		}
		return err
	}
	return cmd
}
