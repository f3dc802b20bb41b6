package main

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/rulecoverage"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/timetext"
)

func newRulesCoverage() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "coverage",
		Short: "Say which rules can fire on the events of the last days, and why others cannot",
		Long: `Reads the newest 2,000 stored events of each type and says which of the enabled rules can
fire on events like them: there must be events of the rule's logsource, and they must
have the fields that the rule needs. It looks at fields, not at values.`,
		Example: `  picket rules coverage
  picket rules coverage --since 30d --json`,
		Args: cobra.NoArgs,
	}
	location := addRulesAndStoreFlags(cmd)
	since := 7 * timetext.Day
	addDurationFlag(cmd.Flags(), &since, "since", "events of the last `AGE`")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		in, err := location.loadFromDataDir()
		if err != nil {
			return err
		}
		in.set.MoveToDisabled(in.disabled)
		return location.withStore(cmd, func(s store.Store) error {
			report, err := rulecoverage.Measure(cmd.Context(), s, &in.set, time.Now().Add(-since))
			if err != nil {
				return err
			}
			if *asJSON {
				return printJSONLine(cmd.OutOrStdout(), report)
			}
			return printCoverage(cmd, &report)
		})
	}
	return cmd
}

func printCoverage(cmd *cobra.Command, report *rulecoverage.Report) error {
	tw := newTable(cmd.OutOrStdout())
	fprintfPrintable(tw, "LOGSOURCE\tSAMPLED\tFIELDS\tRULES\n")
	for _, s := range report.Sources {
		fprintfPrintable(tw, "%s\t%d\t%d\t%d\n", s.LogSource, s.Events, s.Fields, s.Rules)
	}
	byReason := make(map[string][]string) // titles
	able := 0
	for _, r := range report.Rules {
		if r.CanFire {
			able++
		} else {
			byReason[r.Reason] = append(byReason[r.Reason], r.Title)
		}
	}
	fprintfPrintable(tw, "\n")
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, typ := range report.TypesWithoutLogSource {
		fprintfPrintable(cmd.OutOrStdout(), "events of type %q have no logsource: no rule can match them\n", typ)
	}
	fprintfPrintable(cmd.OutOrStdout(), "%d of %d rules and correlations can fire.\n", able, len(report.Rules))
	reasons := slices.SortedFunc(maps.Keys(byReason), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(byReason[b]), len(byReason[a])), strings.Compare(a, b))
	})
	for _, reason := range reasons {
		fprintfPrintable(cmd.OutOrStdout(), "\n%s cannot: %s\n", quantity(len(byReason[reason]), "rule"), reason)
		for _, title := range byReason[reason] {
			if _, err := fprintfPrintable(cmd.OutOrStdout(), "  %s\n", title); err != nil {
				return err
			}
		}
	}
	return nil
}
