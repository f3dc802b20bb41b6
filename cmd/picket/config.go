package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/sigma/lint"
)

// applyConfig sets the flags that are not on the command line from the
// environment, or else from the config file.
func applyConfig(cmd *cobra.Command, _ []string) error {
	if isBuiltinCommand(cmd) {
		return nil
	}
	flags := cmd.Flags()
	file := make(map[string]any)
	path, _ := flags.GetString("config")
	if path == "" {
		path = os.Getenv("PICKET_CONFIG")
	}
	if path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			return withHint(fmt.Errorf("read config: %w", err), "--config and PICKET_CONFIG name a YAML file")
		}
		if err := yaml.Unmarshal(data, &file); err != nil {
			return usagef("read config %s: %w", path, err)
		}
		if err := checkConfig(cmd.Root(), path, file); err != nil {
			return err
		}
	}
	warnOfMisspeltEnvironment(cmd, os.Environ())
	var firstErr error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed || firstErr != nil {
			return
		}
		env := environmentName(f.Name)
		if v := os.Getenv(env); v != "" {
			if err := setFlag(f, v); err != nil {
				firstErr = usagef("%s: %w", env, err)
			}
		} else if v, ok := file[f.Name]; ok {
			if err := setFlag(f, v); err != nil {
				firstErr = usagef("%s: %s: %w", path, f.Name, err)
			}
		}
	})
	return firstErr
}

// isBuiltinCommand reports whether a command is cobra's own: help and shell
// completion.
func isBuiltinCommand(cmd *cobra.Command) bool {
	for c := cmd; c.HasParent(); c = c.Parent() {
		if name := c.Name(); !c.Parent().HasParent() && (name == "help" || name == "completion" || strings.HasPrefix(name, "__complete")) {
			return true
		}
	}
	return false
}

// checkConfig returns an error for keys that are not a flag of any command, so
// that a misspelt setting is not silently ignored.
func checkConfig(root *cobra.Command, path string, file map[string]any) error {
	known := flagNames(root)
	for _, key := range slices.Sorted(maps.Keys(file)) {
		switch {
		case !known[key] || key == "help" || key == "version" || key == "config":
			hint := "settings are named as flags are, without the dashes"
			if near := lint.NearestName(key, slices.Sorted(maps.Keys(known))); near != "" {
				hint = "did you mean " + near + "?"
			}
			return withHint(usagef("read config %s: %q is no setting", path, key), hint)
		case file[key] == nil:
			return usagef("read config %s: %q has no value", path, key)
		}
	}
	return nil
}

// environmentName returns the name of the variable that sets a flag.
func environmentName(flag string) string {
	return "PICKET_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// warnOfMisspeltEnvironment warns of variables whose names are nearly those of settings.
// Others are not picket's: Kubernetes, for example, sets PICKET_PORT for a service of that
// name.
func warnOfMisspeltEnvironment(cmd *cobra.Command, environment []string) {
	known := flagNames(cmd.Root())
	known["admin-password"] = true
	for _, entry := range environment {
		variable, _, _ := strings.Cut(entry, "=")
		name, ok := strings.CutPrefix(variable, "PICKET_")
		name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		if !ok || known[name] {
			continue
		}
		if near := lint.NearestName(name, slices.Sorted(maps.Keys(known))); near != "" {
			fprintfPrintable(cmd.ErrOrStderr(), "picket: warning: the variable %s has no effect; did you mean %s?\n", variable, environmentName(near))
		}
	}
}

// flagNames returns the names of the flags of all commands.
func flagNames(root *cobra.Command) map[string]bool {
	known := make(map[string]bool)
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) { known[f.Name] = true })
		c.PersistentFlags().VisitAll(func(f *pflag.Flag) { known[f.Name] = true })
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(root)
	return known
}

// setFlag sets a flag to a value of the environment or of YAML. Only a repeatable
// flag takes a list.
func setFlag(f *pflag.Flag, v any) error {
	list, many := f.Value.(pflag.SliceValue)
	switch v := v.(type) {
	case map[string]any:
		return fmt.Errorf("a table, where one value is wanted")
	case []any:
		if !many {
			return fmt.Errorf("a list, where one value is wanted")
		}
		values := make([]string, len(v))
		for i := range v {
			values[i] = fmt.Sprint(v[i])
		}
		return list.Replace(values)
	case string:
		if many {
			return list.Replace(strings.Split(v, ","))
		}
	}
	return f.Value.Set(fmt.Sprint(v))
}

// newLog returns a logger to stderr, as --log-level and --log-format say.
func newLog(cmd *cobra.Command) (*slog.Logger, error) {
	name, _ := cmd.Flags().GetString("log-level")
	var level slog.Level
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return nil, usagef("--log-level %q is none of debug, info, warn, error", name)
	}
	o := &slog.HandlerOptions{Level: level}
	switch format, _ := cmd.Flags().GetString("log-format"); format {
	case "text":
		return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), o)), nil
	default:
		return nil, usagef("--log-format %q is neither text nor json", format)
	}
}

// printJSONLine writes v as one line of JSON.
func printJSONLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// A dataDir is a server's data directory.
type dataDir string

func (d dataDir) queueFile() string         { return filepath.Join(string(d), "queue.db") }
func (d dataDir) diskBufferFile() string    { return filepath.Join(string(d), "spill.db") }
func (d dataDir) eventsFile() string        { return filepath.Join(string(d), "events.db") }
func (d dataDir) serverFile() string        { return filepath.Join(string(d), "server.json") }
func (d dataDir) lockFile() string          { return filepath.Join(string(d), "server.lock") }
func (d dataDir) disabledRulesFile() string { return filepath.Join(string(d), "rules-off") }

func (d dataDir) exceptionDir() string { return filepath.Join(string(d), "exceptions") }

// packDir returns the directory of installed rule packs.
func (d dataDir) packDir() ruleset.PackDir {
	return ruleset.PackDir{Path: filepath.Join(string(d), "rules"), Limits: ruleset.DefaultPackLimits}
}

// addDataFlag adds --data.
func addDataFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("data", "picket-data", "the server's data `DIR`")
}

// existingDataDir returns a data directory, or an error if no server has created
// it, or its store is lost.
func existingDataDir(dir string) (dataDir, error) {
	if err := dataDir(dir).checkStoreNotLost(); err != nil {
		return "", err
	}
	if _, err := os.Stat(dataDir(dir).eventsFile()); err != nil {
		return "", withHint(fmt.Errorf("open data directory %s: %w", dir, err), "give the server's --data, or start picket serve once")
	}
	return dataDir(dir), nil
}
