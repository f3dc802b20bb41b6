package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/ruleset"
)

func newRulesAdd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add DIR|FILE|ZIP|URL",
		Short: "Install a rule pack into the data directory; a running server loads it",
		Long: `Installs the rules of a directory, a .yml file, a .zip archive, or an https URL of
such a file or of a repository on GitHub. The rules are copied to DATA/rules/NAME
with their licenses, and run in addition to those of --rules. A running server
loads them within seconds. A pack of the same name is replaced atomically.

The archives of SigmaHQ's releases can be installed as they are. Directories
called deprecated, unsupported and regression_data are skipped.

The pack's filters apply to its own rules only, unless --filters-any is given.`,
		Example: `  picket rules add sigma_all_rules.zip
  picket rules add https://github.com/SigmaHQ/sigma --data /var/lib/picket`,
		Args: cobra.ExactArgs(1),
	}
	at := addStoreFlags(cmd)
	var o ruleset.AddOptions
	cmd.Flags().StringVar(&o.Name, "name", "", "`NAME` of the pack; default made of what it is installed from")
	cmd.Flags().StringVar(&o.SHA256, "sha256", "", "`HASH` that the file or download must have")
	cmd.Flags().BoolVar(&o.FiltersAny, "filters-any", false, "let the pack's filters apply to the rules of --rules and of other packs too")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := makeDataDir(at.data); err != nil {
			return err
		}
		pack, err := dataDir(at.data).packDir().Add(cmd.Context(), args[0], o)
		if err != nil {
			return withPackHint(args[0], err)
		}
		at.recordChanges(cmd, "rules.add", fmt.Sprintf("from %s filters-any=%t", args[0], o.FiltersAny), pack.Name)
		if *asJSON {
			return printJSONLine(cmd.OutOrStdout(), pack)
		}
		fprintfPrintable(cmd.OutOrStdout(), "added %s: %s, %s", pack.Name, pack.KindCounts, quantity(pack.Problems, "problem"))
		if pack.Problems > 0 {
			fprintfPrintable(cmd.OutOrStdout(), " (picket rules lint %s)", pack.Path)
		}
		_, err = fprintfPrintable(cmd.OutOrStdout(), "\n")
		return err
	}
	return cmd
}

// withPackHint adds a hint to the error of a pack that cannot be installed.
func withPackHint(from string, err error) error {
	failed := fmt.Errorf("add rules from %s: %w", from, err)
	switch {
	case errors.Is(err, ruleset.ErrInvalidPackName):
		return withHint(&usageError{failed}, "give the pack another --name")
	case errors.Is(err, ruleset.ErrPlainHTTP):
		return withHint(failed, "give an https URL, or download it by other means and add the file")
	case errors.Is(err, ruleset.ErrSHA256Mismatch):
		return withHint(failed, "somebody has changed it, or it is another version; nothing was installed")
	case errors.Is(err, os.ErrPermission):
		return withHint(failed, dataPermissionHint)
	}
	return withHint(failed, "a pack is a folder, a .yml file, a .zip, or an https URL of these or of a repository on GitHub")
}

func newRulesRemove() *cobra.Command {
	cmd := &cobra.Command{Use: "remove NAME", Short: "Remove a rule pack that picket rules add installed", Args: cobra.ExactArgs(1)}
	at := addStoreFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		packs := dataDir(at.data).packDir()
		if err := packs.Remove(args[0]); err != nil {
			failed := fmt.Errorf("remove rules %q: %w", args[0], err)
			names, listErr := packs.Names()
			switch {
			case !errors.Is(err, ruleset.ErrPackNotFound) || listErr != nil:
				return withHint(failed, dataPermissionHint)
			case len(names) == 0:
				return withHint(failed, "there are none in "+at.data+"; give the server's --data")
			}
			return withHint(failed, "the packs in "+at.data+" are "+strings.Join(names, ", "))
		}
		at.recordChanges(cmd, "rules.remove", "", args[0])
		_, err := fprintfPrintable(cmd.OutOrStdout(), "removed %s\n", args[0])
		return err
	}
	return cmd
}
