package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/ruleset"
)

func newRulesList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [PATH...]",
		Short: "List the rules of a data directory, or those of a pack",
		Long: `Without a path, lists the rules of a server: picket's own (or those of --rules, as
for picket serve) and those of the packs that picket rules add installed, each with
its pack and whether it is enabled. With paths, lists the rules in those files.`,
		Args: cobra.ArbitraryArgs,
	}
	f := addRulesLocationFlags(cmd)
	pipelines := addPipelineFlag(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON, one rule per line")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var in loadedServerRules
		var err error
		if len(args) > 0 {
			if cmd.Flags().Changed("data") || cmd.Flags().Changed("rules") {
				return usagef("a PATH goes with neither --data nor --rules")
			}
			in.set, err = loadRules(args, *pipelines...)
		} else if in, err = f.loadFromDataDir(*pipelines...); errors.Is(err, fs.ErrNotExist) && !cmd.Flags().Changed("data") {
			in, err = loadServerRules("", f.rules, *pipelines...) // no server has run here yet: list what one would load
		}
		if err != nil {
			return err
		}
		isEmpty := func(p ruleset.Problem) bool { return p.EmptySource }
		if i := slices.IndexFunc(in.set.Problems, isEmpty); i >= 0 && len(in.set.Enabled) == 0 {
			return fmt.Errorf("read rules: %s", in.set.Problems[i])
		}
		for _, p := range in.set.Problems {
			fprintfPrintable(cmd.ErrOrStderr(), "picket: warning: %s\n", p)
		}
		tw := newTable(cmd.OutOrStdout())
		for _, r := range append(in.set.Enabled, ruleset.SenderRules(in.disabled)...) {
			summary := r.Summary(!in.disabled[r.ID])
			state, title := "on", r.Title+untilText(summary.Expires)
			if in.disabled[r.ID] {
				state = "off"
			}
			switch {
			case *asJSON:
				err = printJSONLine(cmd.OutOrStdout(), summary)
			case len(args) > 0:
				_, err = fprintfPrintable(tw, "%s\t%s\t%s\t%s\n", r.ID, r.Level, logSourceOrKind(r), title)
			default:
				_, err = fprintfPrintable(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, state, r.Level, logSourceOrKind(r), r.Pack, title)
			}
			if err != nil {
				return err
			}
		}
		return tw.Flush()
	}
	return cmd
}

// rulesLocationFlags are the flags that name a server's rules.
type rulesLocationFlags struct {
	data  string
	rules []string
}

func addRulesLocationFlags(cmd *cobra.Command) *rulesLocationFlags {
	f := new(rulesLocationFlags)
	cmd.Flags().StringVar(&f.data, "data", "picket-data", "the server's data `DIR`")
	addServerRulesFlag(cmd, &f.rules)
	return f
}

func addServerRulesFlag(cmd *cobra.Command, names *[]string) {
	cmd.Flags().StringArrayVar(names, "rules", []string{"builtin"}, "the server's --rules: builtin, or a `PATH` (repeatable)")
}

// A rulesAndStoreLocation names the store and the rules of a server.
type rulesAndStoreLocation struct {
	*storeLocation
	rules []string
}

func addRulesAndStoreFlags(cmd *cobra.Command) *rulesAndStoreLocation {
	l := &rulesAndStoreLocation{storeLocation: addStoreFlags(cmd)}
	addServerRulesFlag(cmd, &l.rules)
	return l
}

// loadFromDataDir reads the rules of the data directory, which must exist.
func (l *rulesAndStoreLocation) loadFromDataDir() (loadedServerRules, error) {
	dir, err := l.existingDir()
	if err != nil {
		return loadedServerRules{}, err
	}
	return loadServerRules(dir, l.rules)
}

// loadedServerRules are the rules of a server, with those that are disabled.
type loadedServerRules struct {
	dir      dataDir
	sources  []ruleset.Source
	set      ruleset.LoadedRules
	disabled map[string]bool
}

// loadFromDataDir reads the rules of a data directory, which must exist.
func (f *rulesLocationFlags) loadFromDataDir(pipelines ...string) (loadedServerRules, error) {
	if info, err := os.Stat(f.data); err != nil {
		return loadedServerRules{}, withHint(fmt.Errorf("open data directory: %w", err), "give the server's --data; picket serve and picket rules add make one")
	} else if !info.IsDir() {
		return loadedServerRules{}, withHint(fmt.Errorf("open data directory: %s is no directory", f.data), "give the server's --data")
	}
	return loadServerRules(dataDir(f.data), f.rules, pipelines...)
}

// loadServerRules reads the rules that a server on dir would load.
func loadServerRules(dir dataDir, names []string, pipelines ...string) (in loadedServerRules, err error) {
	in.dir = dir
	if in.sources, err = serverRuleSources(dir, names, pipelines...); err != nil {
		return in, err
	}
	if in.set, err = ruleset.Load(in.sources, nil); err != nil || dir == "" {
		return in, err
	}
	in.disabled, err = ruleset.ReadDisabled(dir.disabledRulesFile())
	return in, err
}

// serverRuleSources returns the sources of a server's rules: those of --rules, then the
// packs in its data directory.
func serverRuleSources(dir dataDir, names []string, pipelines ...string) ([]ruleset.Source, error) {
	sources, err := ruleSources(names, pipelines...)
	packs := dir.packDir().Path
	if err != nil || dir == "" {
		return sources, err
	}
	sources = append(sources, ruleset.Source{Name: dir.exceptionDir(), Optional: true})
	if i := slices.IndexFunc(sources, func(s ruleset.Source) bool { return s.FS == nil && samePath(s.Name, packs) }); i >= 0 {
		sources[i].Packs = true
		return sources, nil
	}
	return append(sources, ruleset.Source{Name: packs, Optional: true, Packs: true}), nil
}

func samePath(a, b string) bool {
	a, err1 := filepath.Abs(a)
	b, err2 := filepath.Abs(b)
	return err1 == nil && err2 == nil && a == b
}
