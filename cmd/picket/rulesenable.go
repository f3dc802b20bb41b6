package main

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/internal/printable"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma/ast"
)

// newRulesEnable returns the command picket rules enable or disable.
func newRulesEnable(verb string) *cobra.Command {
	off := verb == "disable"
	cmd := &cobra.Command{
		Use:   verb + " RULE...",
		Short: map[bool]string{true: "Disable rules; a running server applies it", false: "Enable disabled rules; a running server applies it"}[off],
		Long: `` + map[bool]string{true: "Disables", false: "Enables"}[off] + ` rules, each named by its id, its title or the name of its file. A
running server applies the change within seconds and keeps it after a restart.
The alerts that a sender raises are named by the rule id that they have, such as
'falco:Terminal shell in container'. If one of the rules does not exist, nothing is changed.`,
		Args: cobra.MinimumNArgs(1),
	}
	f := addRulesLocationFlags(cmd)
	storeName := cmd.Flags().String("store", "sqlite", storeUsage)
	asJSON := cmd.Flags().Bool("json", false, "print JSON, one rule per line")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in, err := f.loadFromDataDir()
		if err != nil {
			return err
		}
		var ids []string
		titles := make(map[string]string)
		for _, arg := range args {
			r, err := in.findFor(verb, arg)
			if err != nil {
				return err
			}
			if _, twice := titles[r.ID]; !twice {
				ids, titles[r.ID] = append(ids, r.ID), r.Title
			}
		}
		if err := ruleset.SetDisabled(in.dir.disabledRulesFile(), ids, off); err != nil {
			return withFileHint(fmt.Errorf("%s rules: %w", verb, err))
		}
		location := storeLocation{data: f.data, name: *storeName}
		for _, id := range ids {
			if _, ofSender := normalize.SenderRuleTitle(id); ofSender && off {
				printIfNoAlert(cmd, location, id)
			}
		}
		location.recordChanges(cmd, "rule.switch", fmt.Sprintf("enabled=%t", !off), ids...)
		for _, id := range ids {
			if *asJSON {
				err = printJSONLine(cmd.OutOrStdout(), map[string]any{"id": id, "title": titles[id], "enabled": !off, "changed": in.disabled[id] != off})
			} else {
				_, err = fprintfPrintable(cmd.OutOrStdout(), "%sd %s  %s\n", verb, id, titles[id])
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

// printIfNoAlert prints a note if no alert of a rule is stored: the name may be wrong.
func printIfNoAlert(cmd *cobra.Command, location storeLocation, ruleID string) {
	err := location.withStore(cmd, func(s store.Store) error {
		page, err := s.Alerts(cmd.Context(), store.AlertQuery{RuleID: ruleID, Limit: 1})
		if err == nil && len(page.Alerts) == 0 {
			fprintfPrintable(cmd.ErrOrStderr(), "picket: note: no alert of %s is stored; is its name right?\n", ruleID)
		}
		return err
	})
	if err != nil {
		fprintfPrintable(cmd.ErrOrStderr(), "picket: note: whether there are alerts of %s is unknown: %v\n", ruleID, err)
	}
}

// findFor is find for a command, with a hint in the error.
func (in loadedServerRules) findFor(verb, name string) (ruleset.RuleInfo, error) {
	r, err := in.find(name)
	if err != nil {
		return r, withRuleHint(verb, name, in, err)
	}
	return r, nil
}

// find returns the rule with an id, or else the only rule with a title, or else the only
// rule in a file with a name.
func (in loadedServerRules) find(name string) (ruleset.RuleInfo, error) {
	is := []func(r ruleset.RuleInfo) bool{
		func(r ruleset.RuleInfo) bool { return strings.EqualFold(r.ID, name) },
		func(r ruleset.RuleInfo) bool { return strings.EqualFold(r.Title, name) },
		func(r ruleset.RuleInfo) bool { return isFileNamed(r.File, name) },
	}
	for _, same := range is {
		var found []ruleset.RuleInfo
		for _, r := range in.set.Enabled {
			if same(r) {
				found = append(found, r)
			}
		}
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			return ruleset.RuleInfo{}, &ambiguousRuleError{found}
		}
	}
	if title, ok := normalize.SenderRuleTitle(name); ok {
		return ruleset.RuleInfo{Meta: &ast.Meta{ID: name, Title: title}}, nil
	}
	if in.disabled[name] { // its pack was removed, but it is still listed as disabled
		return ruleset.RuleInfo{Meta: &ast.Meta{ID: name}}, nil
	}
	for _, p := range in.set.Problems {
		if p.RuleID != "" && p.RuleID == name || isFileNamed(p.File, name) {
			return ruleset.RuleInfo{}, &ruleProblemError{p}
		}
	}
	return ruleset.RuleInfo{}, fmt.Errorf("no rule has this id, title or file name")
}

// isFileNamed reports whether name is a file, or its last part with or without extension.
func isFileNamed(file, name string) bool {
	base := path.Base(file)
	return file == name || base == name || strings.TrimSuffix(base, path.Ext(base)) == name
}

// An ambiguousRuleError is a name that several rules have.
type ambiguousRuleError struct{ rules []ruleset.RuleInfo }

func (e *ambiguousRuleError) Error() string {
	return fmt.Sprintf("%d rules are called so", len(e.rules))
}

// A ruleProblemError is the problem of a rule that was asked for and does not load.
type ruleProblemError struct{ ruleset.Problem }

func (e *ruleProblemError) Error() string { return "it does not load: " + e.String() }

// withRuleHint adds a hint to the error of a name that identifies no rule, or several.
func withRuleHint(verb, name string, in loadedServerRules, err error) error {
	failed := fmt.Errorf("%s rule %q: %w", verb, name, err)
	if several, ok := err.(*ambiguousRuleError); ok {
		ids := make([]string, len(several.rules))
		for i, r := range several.rules {
			ids[i] = r.ID
		}
		return withHint(failed, "give one's id: "+strings.Join(ids[:min(len(ids), 5)], ", "))
	}
	if _, ok := err.(*ruleProblemError); ok {
		return withHint(failed, "until it loads, a server that is running keeps the last version without mistakes; picket rules lint checks the file")
	}
	near := make(map[string]bool)
	for _, r := range in.set.Enabled {
		if len(name) > 2 && strings.Contains(strings.ToLower(r.Title+"\n"+r.File), strings.ToLower(name)) {
			near[fmt.Sprintf("%q", printable.Text(r.Title))] = true
		}
	}
	if len(near) > 0 {
		titles := slices.Sorted(maps.Keys(near))
		return withHint(failed, "is it "+strings.Join(titles[:min(len(titles), 5)], " or ")+"?")
	}
	return withHint(failed, "picket rules list names the rules in force; give the server's --data and --rules")
}
