package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/sigma"
)

func newRules() *cobra.Command {
	return newGroup("rules", "List, check, measure and test Sigma rules", newRulesList(), newRulesLint(), newRulesProfile(), newRulesTest())
}

func newRulesList() *cobra.Command {
	cmd := &cobra.Command{Use: "list [PATH...]", Short: "List the rules of a pack; picket's own without a path", Args: cobra.ArbitraryArgs}
	pipelines := addPipelineFlag(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON, a line a rule")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		set, err := loadRules(orBuiltin(args), *pipelines...)
		if err != nil {
			return err
		}
		tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		for _, r := range set.Rules.Rules() {
			if *asJSON {
				err = printJSON(cmd.OutOrStdout(), map[string]any{
					"id": r.ID, "title": r.Title, "level": r.Level.String(), "status": r.Status, "tags": r.Tags, "file": r.File,
					"logsource": map[string]string{"product": r.LogSource.Product, "category": r.LogSource.Category, "service": r.LogSource.Service},
				})
			} else {
				_, err = fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", r.ID, r.Level, logsource(r.LogSource), printable(r.Title))
			}
			if err != nil {
				return err
			}
		}
		return tw.Flush()
	}
	return cmd
}

func orBuiltin(args []string) []string {
	if len(args) == 0 {
		return []string{"builtin"}
	}
	return args
}

func logsource(l sigma.LogSource) string {
	s := ""
	for _, part := range []string{l.Product, l.Category, l.Service} {
		if part == "" {
			continue
		}
		if s != "" {
			s += "/"
		}
		s += part
	}
	return s
}

func newRulesTest() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test [PATH...]",
		Short: "Run the cases beside rules: NAME.test.yml beside NAME.yml; picket's own without a path",
		Args:  cobra.ArbitraryArgs,
	}
	pipelines := addPipelineFlag(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON, a line a case")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		sources, err := ruleSources(orBuiltin(args), *pipelines...)
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
