package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/sigma/ast"
)

func newRules() *cobra.Command {
	return newGroup("rules", "List, check, test, install, enable, disable and convert rules", newRulesList(), newRulesLint(), newRulesProfile(), newRulesTest(),
		newRulesExplain(), newRulesRetro(), newRulesAdd(), newRulesRemove(), newRulesEnable("enable"), newRulesEnable("disable"), newRulesExcept(), newRulesShow(), newRulesCoverage(), newRulesConvert())
}

func argsOrBuiltin(args []string) []string {
	if len(args) == 0 {
		return []string{"builtin"}
	}
	return args
}

// logSourceOrKind returns the logsource of a rule, or its kind if it is a correlation or
// a filter.
func logSourceOrKind(e ruleset.RuleInfo) string {
	source := e.LogSource.String()
	if e.Kind == ast.RuleDocument {
		return source
	}
	return strings.TrimSpace(e.Kind.String() + " " + source)
}

func newRulesTest() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test [PATH...]",
		Short: "Run the tests beside rules: NAME.test.yml beside NAME.yml; picket's own without a path",
		Args:  cobra.ArbitraryArgs,
	}
	pipelines := addPipelineFlag(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON, one case per line")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		sources, err := ruleSources(argsOrBuiltin(args), *pipelines...)
		if err != nil {
			return err
		}
		results, err := ruleset.TestRules(sources)
		if err != nil {
			return err
		}
		cases, failed, unusable := 0, 0, 0
		for _, r := range results {
			name := r.File
			if r.Case == "" {
				unusable++
			} else {
				cases++
				name += ": " + r.Case
				if r.Err != "" {
					failed++
				}
			}
			switch {
			case *asJSON:
				err = printJSONLine(cmd.OutOrStdout(), r)
			case r.Err != "":
				_, err = fprintfPrintable(cmd.OutOrStdout(), "FAIL  %s: %s\n", name, r.Err)
			}
			if err != nil {
				return err
			}
		}
		if !*asJSON {
			text := fmt.Sprintf("%s, %d failed", quantity(cases, "case"), failed)
			if unusable > 0 {
				text += fmt.Sprintf(", %s without cases that can be run", quantity(unusable, "file"))
			}
			fprintfPrintable(cmd.ErrOrStderr(), "%s\n", text)
		}
		if failed+unusable > 0 {
			return errSilent
		}
		return nil
	}
	return cmd
}
