package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/scan"
)

func newRulesExplain() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain RULE FILE",
		Short: "Say why a rule matches an event, or what does not hold",
		Long: `Evaluates each part of a rule on an event: its logsource, its condition, its searches,
and each value that it compares with. RULE is a file of rules, or the id, name or title
of a rule in --rules. FILE has events in any format that picket scan reads; - is
standard input. Filters and correlations are not evaluated.`,
		Example: `  picket rules explain my-rule.yml event.json
  picket rules explain 'Encoded PowerShell' Security.evtx --record 17`,
		Args: cobra.ExactArgs(2),
	}
	names := cmd.Flags().StringArray("rules", []string{"builtin"}, "rules that RULE may name: builtin, or a `PATH` (repeatable)")
	record := cmd.Flags().Int("record", 1, "explain the rule on record `N` of the file")
	asJSON := cmd.Flags().Bool("json", false, "print JSON, one line for each rule")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		set, wanted, err := loadSelectedRules(args[:1], *names)
		if err != nil {
			return err
		}
		raw, err := readRecord(cmd, args[1], *record)
		if err != nil {
			return err
		}
		ev, err := normalize.NewReader().Read(raw)
		if err != nil {
			return fmt.Errorf("read record %d of %s: %w", *record, args[1], err)
		}
		explained := 0
		for _, r := range set.Effective.Rules {
			if !wanted[r.ID] {
				continue
			}
			x, err := ruleset.Explain(r, ev)
			if err != nil {
				return err
			}
			explained++
			if *asJSON {
				err = printJSONLine(cmd.OutOrStdout(), x)
			} else {
				err = printExplanation(cmd.OutOrStdout(), &x)
			}
			if err != nil {
				return err
			}
		}
		for _, p := range set.Problems {
			fprintfPrintable(cmd.ErrOrStderr(), "picket: rule not loaded: %s\n", p)
		}
		if explained == 0 {
			return withHint(fmt.Errorf("explain %s: it is no rule", args[0]), "correlations and filters have no searches of an event")
		}
		return nil
	}
	return cmd
}

var errRecordFound = errors.New("found")

// readRecord returns a record of a file.
func readRecord(cmd *cobra.Command, file string, number int) ([]byte, error) {
	n := 0
	var found []byte
	next := func(raw []byte) error {
		if n++; n == number {
			found = raw
			return errRecordFound
		}
		return nil
	}
	err := scan.ReadFile(file, next, func(err error) {
		n++
		printProblem(cmd, fmt.Errorf("read %s: record %d: %w", file, n, err))
	})
	switch {
	case found != nil:
		return found, nil
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return nil, fmt.Errorf("read %s: it has %s, and no record %d", file, quantity(n, "record"), number)
}

// yesNo marks what holds.
func yesNo(holds bool) string {
	if holds {
		return "yes"
	}
	return "NO"
}

// maxExplainedChars bounds a value that is printed.
const maxExplainedChars = 200

func printExplanation(w io.Writer, x *ruleset.Explanation) error {
	does := "does not match"
	if x.Matches {
		does = "matches"
	}
	fprintfPrintable(w, "%s (%s) %s\n", x.Title, x.RuleID, does)
	fprintfPrintable(w, "%-4s logsource %s; the event is of %s\n", yesNo(x.LogSource.Holds), x.LogSource.Rule, strings.Join(append(x.LogSource.Event, "")[:max(1, len(x.LogSource.Event))], ", "))
	for _, c := range x.Conditions {
		fprintfPrintable(w, "%-4s condition: %s\n", yesNo(c.Holds), c.Text)
	}
	for _, s := range x.Searches {
		fprintfPrintable(w, "%-4s %s\n", yesNo(s.Holds), s.Name)
		for i, items := range s.Alternatives {
			if i > 0 {
				fprintfPrintable(w, "     or\n")
			}
			for _, it := range items {
				printExplainedItem(w, &it)
			}
		}
	}
	if len(x.MissingNames) > 0 {
		fprintfPrintable(w, "the event does not have: %s\n", strings.Join(x.MissingNames, ", "))
	}
	_, err := fprintfPrintable(w, "\n")
	return err
}

func printExplainedItem(w io.Writer, it *ruleset.ItemExplained) {
	has := "the event does not have it"
	if len(it.EventValues) > 0 {
		has = "the event has " + truncate(strings.Join(it.EventValues, ", "), maxExplainedChars)
	} else if strings.HasPrefix(it.Field, "keywords") {
		has = "anywhere in the event"
	}
	fprintfPrintable(w, "     %-4s %s: %s\n", yesNo(it.Holds), it.Field, has)
	for _, v := range it.Values {
		fprintfPrintable(w, "          %-4s %s\n", yesNo(v.Holds), truncate(v.Text, maxExplainedChars))
	}
}
