package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/sigma"
)

func newRules() *cobra.Command {
	return newGroup("rules", "List, check, test, install, switch and convert rules", newRulesList(), newRulesLint(), newRulesTest(),
		newRulesRetro(), newRulesAdd(), newRulesRemove(), newRulesSwitch("enable"), newRulesSwitch("disable"), newRulesConvert())
}

func orBuiltin(args []string) []string {
	if len(args) == 0 {
		return []string{"builtin"}
	}
	return args
}

// about says what an entry is for: its logsource, with what it is if that is
// no rule.
func about(e detect.Entry) string {
	var parts []string
	for _, part := range []string{e.LogSource.Product, e.LogSource.Category, e.LogSource.Service} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	source := strings.Join(parts, "/")
	if e.Kind == sigma.RuleDocument {
		return source
	}
	return strings.TrimSpace(e.Kind.String() + " " + source)
}

func newRulesLint() *cobra.Command {
	cmd := &cobra.Command{Use: "lint [PATH...]", Short: "Check that rules load, and warn of what is doubtful in them", Args: cobra.ArbitraryArgs}
	asJSON := cmd.Flags().Bool("json", false, "print JSON, a line a finding")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		set, err := loadRules(orBuiltin(args))
		if err != nil {
			return err
		}
		for _, p := range set.Problems {
			if err := printProblem(cmd, *asJSON, "error", p); err != nil {
				return err
			}
		}
		warnings := 0
		for _, r := range set.Rules.Rules() {
			for _, w := range r.Warnings {
				warnings++
				if err := printProblem(cmd, *asJSON, "warning", detect.Problem{File: r.File, Line: r.Line, RuleID: r.ID, Reason: w}); err != nil {
					return err
				}
			}
		}
		if !*asJSON {
			fmt.Fprintf(cmd.ErrOrStderr(), "%d rules, %d errors, %d warnings\n", set.Rules.Len(), len(set.Problems), warnings)
		}
		if len(set.Problems) > 0 {
			return errSilent
		}
		return nil
	}
	return cmd
}

func printProblem(cmd *cobra.Command, asJSON bool, kind string, p detect.Problem) error {
	if asJSON {
		return printJSON(cmd.OutOrStdout(), struct {
			Kind string `json:"kind"`
			detect.Problem
		}{kind, p})
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", kind, printable(p.String()))
	return err
}

func newRulesTest() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test [PATH...]",
		Short: "Run the cases beside rules: NAME.test.yml beside NAME.yml; picket's own without a path",
		Args:  cobra.ArbitraryArgs,
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON, a line a case")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		sources, err := ruleSources(orBuiltin(args))
		if err != nil {
			return err
		}
		results, err := detect.Test(sources)
		if err != nil {
			return err
		}
		failed := 0
		for _, r := range results {
			if r.Err != "" {
				failed++
			}
			switch {
			case *asJSON:
				err = printJSON(cmd.OutOrStdout(), r)
			case r.Err != "":
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "FAIL  %s: %s: %s\n", r.File, r.Case, r.Err)
			}
			if err != nil {
				return err
			}
		}
		if !*asJSON {
			fmt.Fprintf(cmd.ErrOrStderr(), "%d cases, %d failed\n", len(results), failed)
		}
		if failed > 0 {
			return errSilent
		}
		return nil
	}
	return cmd
}
