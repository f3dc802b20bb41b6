package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/store"
)

func newRulesShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show RULE",
		Short: "Show a rule: its text, its filters, whether it is enabled and what it has found",
		Long:  "Shows a rule, correlation or filter of a server, named by its id, its title or the name of its file.",
		Args:  cobra.ExactArgs(1),
	}
	location := addRulesAndStoreFlags(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in, err := location.loadFromDataDir()
		if err != nil {
			return err
		}
		r, err := in.findFor("show", args[0])
		if err != nil {
			return err
		}
		in.set.MoveToDisabled(in.disabled)
		d, err := ruleset.ReadDetails(in.sources, &in.set, r, !in.disabled[r.ID])
		if err != nil {
			return err
		}
		return location.withStore(cmd, func(s store.Store) error {
			hits, err := store.CountRuleHits(cmd.Context(), s, r.ID)
			if err != nil {
				return err
			}
			if *asJSON {
				return printJSONLine(cmd.OutOrStdout(), struct {
					ruleset.RuleDetails
					Hits store.RuleHits `json:"hits"`
				}{d, hits})
			}
			return printRule(cmd, &d, hits)
		})
	}
	return cmd
}

// untilText says when a filter ends, "" for never.
func untilText(expires *time.Time) string {
	if expires == nil {
		return ""
	}
	return " (until " + expires.UTC().Format("2006-01-02 15:04 MST") + ")"
}

func printRule(cmd *cobra.Command, d *ruleset.RuleDetails, hits store.RuleHits) error {
	tw := newTable(cmd.OutOrStdout())
	state := "disabled"
	if d.Enabled {
		state = "enabled"
	}
	fprintfPrintable(tw, "%s\t%s\nstate\t%s%s\nfile\t%s\n", d.Kind, d.ID, state, untilText(d.Expires), d.File)
	if d.Pack != "" {
		fprintfPrintable(tw, "pack\t%s\n", d.Pack)
	}
	for _, f := range d.Filters {
		fprintfPrintable(tw, "filter\t%s  %s%s\n", f.ID, f.Title, untilText(f.Expires))
		for _, text := range f.Compares {
			fprintfPrintable(tw, "\t  %s\n", text)
		}
		if f.Description != "" {
			fprintfPrintable(tw, "\t  %s\n", strings.TrimSpace(strings.Trim(f.Author+": "+strings.ReplaceAll(f.Description, "\n", " "), ": ")))
		}
	}
	more := ""
	if hits.Partial {
		more = ", and older ones"
	}
	fprintfPrintable(tw, "hits\t%s, %d of them open, with %s%s; the last %s\n\n", quantity(hits.Alerts, "alert"), hits.Open, quantity(hits.Matches, "match"), more, formatTime(hits.Last))
	if err := tw.Flush(); err != nil {
		return err
	}
	return printLines(cmd.OutOrStdout(), d.Text)
}
