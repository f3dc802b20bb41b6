package main

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/sigma/lint"
)

// A lintLine is one line of the output of picket rules lint.
type lintLine struct {
	Kind string `json:"kind"` // error, warning or info
	ruleset.Problem
	Check string `json:"check"` // "load" of rules that do not load
}

func newRulesLint() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lint [PATH...]",
		Short: "Check that rules load, and report likely mistakes in them",
		Long: `Checks that rules load, and reports likely mistakes in them: escapes, wildcards and
regular expressions that do not do what they seem to, searches that no condition
uses, missing or wrong metadata, slow rules. docs/sigma.md lists the checks. The
exit status is 1 if there is an error: a rule does not load, or two rules have the
same id. --min info also prints hints.`,
		Example: `  picket rules lint sigma/rules
  picket rules lint --min info --ignore unknown_field my-rules`,
		Args: cobra.ArbitraryArgs,
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON, one finding per line")
	pipelines := addPipelineFlag(cmd)
	least := cmd.Flags().String("min", "warning", "print findings of this `SEVERITY` and above: error, warning or info")
	only := cmd.Flags().StringArray("only", nil, "run only this `CHECK` (repeatable)")
	ignore := cmd.Flags().StringArray("ignore", nil, "skip this `CHECK` (repeatable)")
	completeFlag(cmd, "min", "error", "warning", "info")
	completeFlag(cmd, "only", lintCheckNames()...)
	completeFlag(cmd, "ignore", lintCheckNames()...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		min, err := lint.ParseSeverity(*least)
		if err != nil {
			return usagef("--min: %w", err)
		}
		for _, name := range slices.Concat(*only, *ignore) {
			if _, ok := lint.CurrentCheckName(name); !ok {
				return usagef("there is no check %q: the checks are %s", name, strings.Join(lintCheckNames(), ", "))
			}
		}
		set, err := loadRules(argsOrBuiltin(args), *pipelines...)
		if err != nil {
			return err
		}
		if len(args) > 0 { // these may name picket's own rules, as a filter does
			own, err := loadRules([]string{"builtin"})
			if err != nil {
				return err
			}
			set.DropMissingRulesFoundIn(&own)
		}
		for _, note := range set.Warnings {
			fprintfPrintable(cmd.ErrOrStderr(), "picket: %s\n", note)
		}
		lines, counts := lintSet(set, lint.Options{
			Only: *only, Ignore: *ignore, Known: normalize.KnownSources(), UnknownLogSourceHint: normalize.DeclarationHint, Now: time.Now(),
		}, min)
		for _, line := range lines {
			if err := printLint(cmd, *asJSON, line); err != nil {
				return err
			}
		}
		if !*asJSON {
			fprintfPrintable(cmd.ErrOrStderr(), "%s, %s, %s, %s\n", ruleset.CountKinds(set.Enabled),
				quantity(counts[lint.Error], "error"), quantity(counts[lint.Warning], "warning"), quantity(counts[lint.Info], "info"))
		}
		if counts[lint.Error] > 0 {
			return errSilent
		}
		return nil
	}
	return cmd
}

func lintCheckNames() []string {
	var names []string
	for _, c := range lint.Checks() {
		names = append(names, c.Name)
	}
	return names
}

// lintSet returns the findings about rules, sorted by file and line, and the number of
// findings of each severity, shown or not.
func lintSet(set ruleset.LoadedRules, o lint.Options, min lint.Severity) ([]lintLine, [lint.Error + 1]int) {
	var lines []lintLine
	var counts [lint.Error + 1]int
	for _, p := range set.Problems {
		counts[lint.Error]++
		lines = append(lines, lintLine{lint.Error.String(), p, "load"})
	}
	for _, f := range lint.Run(set.Parsed, o) {
		counts[f.Severity]++
		if f.Severity >= min {
			lines = append(lines, lintLine{f.Severity.String(), ruleset.Problem{
				File: f.Meta.File, Line: f.Line, Column: f.Column, RuleID: f.Meta.ID, Reason: f.Reason, Hint: f.Hint,
			}, f.Check})
		}
	}
	slices.SortStableFunc(lines, func(a, b lintLine) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return lines, counts
}

func printLint(cmd *cobra.Command, asJSON bool, l lintLine) error {
	if asJSON {
		return printJSONLine(cmd.OutOrStdout(), l)
	}
	s := l.Kind + ": " + l.String()
	if l.Check != "load" {
		s += " [" + l.Check + "]"
	}
	_, err := fprintfPrintable(cmd.OutOrStdout(), "%s\n", s)
	return err
}
