// Command picket is an endpoint detection and response backend and its agent in
// one binary. Each subcommand has a file of its own. The packages under internal
// do the work; only this package wires them together.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket"
)

func main() { os.Exit(run()) }

// run runs the command line and returns the exit code: 1 for a failure, 2 for
// wrong usage.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	cmd, err := newRoot().ExecuteContextC(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errMatchFound):
		return 3
	case errors.Is(err, errSilent):
		return 1
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		err = errors.New("interrupted")
	}
	printError(os.Stderr, cmd, err)
	if u := (*usageError)(nil); errors.As(err, &u) {
		return 2
	}
	return 1
}

// errMatchFound makes the program exit with 3: a scan with --fail-on-match has found a match.
var errMatchFound = errors.New("a rule matched")

// errSilent makes the program exit with 1 without another message.
var errSilent = errors.New("failed")

// A usageError is a wrong command line; the program exits with 2.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// A hintedError is an error with a hint about what the user can do.
type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string { return e.err.Error() }
func (e *hintedError) Unwrap() error { return e.err }

func withHint(err error, hint string) error { return &hintedError{err, hint} }

// printError writes a line with what failed and why, and another with the hint if
// there is one.
func printError(w io.Writer, cmd *cobra.Command, err error) {
	fprintfPrintable(w, "picket: %s\n", strings.ReplaceAll(picket.TrimErrorKindSuffix(err.Error()), "\n", "; "))
	if h := (*hintedError)(nil); errors.As(err, &h) {
		fprintfPrintable(w, "hint: %s\n", h.hint)
	} else if u := (*usageError)(nil); errors.As(err, &u) {
		fprintfPrintable(w, "hint: %s --help\n", cmd.CommandPath())
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "picket",
		Short: "Endpoint detection and response: one binary, server and agent",
		Long: `picket receives events from endpoints, queues them durably, runs Sigma rules over
them, stores them, and shows alerts on a web console.

  picket serve        the server, with everything in one process
  picket agent        watches a host and sends its events
  picket scan FILE    runs rules over files of events

Every flag can also be given in the environment, --log-level as PICKET_LOG_LEVEL,
or in a YAML file (--config). The command line overrides the environment,
which overrides the file. The exit status is 1 if a command fails, and 2 if its
arguments are wrong.`,
		Version:           version,
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRunE: applyConfig,
		Args:              cobra.NoArgs,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	pf := root.PersistentFlags()
	pf.String("config", "", "YAML `FILE` with values for flags, as in \"listen: 0.0.0.0:8000\"")
	pf.String("log-level", "info", "least `LEVEL` to log: debug, info, warn or error")
	pf.String("log-format", "text", "`FORMAT` of the log: text or json")
	completeFlag(root, "log-level", "debug", "info", "warn", "error")
	completeFlag(root, "log-format", "text", "json")
	root.SetVersionTemplate(versionLine())
	root.AddCommand(newServe(), newWorker(), newMigrate(), newBackup(), newRestore(), newAgent(), newScan(), newRules(), newAlerts(), newHunt(), newQueue(), newToken(), newAudit(),
		newUser(), newDoctor(), newBench(), newVersion())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if !c.Runnable() { // otherwise cobra answers an unknown subcommand with help and success
			c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
	markUsageErrors(root)
	return root
}

// newGroup returns a command that only has subcommands.
func newGroup(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(subs...)
	return cmd
}

// completeFlag offers values for a flag in shell completion.
func completeFlag(cmd *cobra.Command, flag string, values ...string) {
	// It fails only if the flag does not exist, which a test would notice.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// markUsageErrors turns errors about arguments into usage errors.
func markUsageErrors(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return &usageError{err}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		markUsageErrors(sub)
	}
}
