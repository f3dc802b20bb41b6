package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/scan"
	"github.com/picket-edr/picket/internal/scanreport"
	"github.com/picket-edr/picket/rules"
)

func newScan() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scan [--rules PATH]... FILE|DIR...",
		Short: "Run rules over files of events (.evtx, .json, .ndjson, .xml, .log; .gz, .zst and .zip too)",
		Long: `Runs rules over the events in files and prints the matches. Files are Windows event
logs (.evtx), their export to XML, JSON (one event per line, an array, or concatenated
objects), or text logs, such as those of syslog and auditd, of which each line is an
event. Files in .gz and .zst are decompressed, files in a .zip are read as in a
directory, and - is standard input. A file that is given is read whatever its name; in
directories, files are read whose names end in .evtx, .json, .ndjson, .jsonl, .xml, .log
or .zip. The times of text logs without a zone are local.

The number of a match's record is its place in the file; behind it, in parentheses,
is the EventRecordID of a Windows event.

Files and events that cannot be read are reported and skipped, and the exit status
is then 1: also of an event log that is cut off, of which the rest is read. Matches do
not change the exit status, but with --fail-on-match it is 3 if there are any.

Matches are printed as they are found, and with --format sorted by time in the end,
without duplicates.`,
		Example: `  picket scan Security.evtx
  picket scan --rules sigma/rules --min-level high --json logs/
  picket scan --format csv -o timeline.csv --html report.html --since 30d logs/`,
		Args: cobra.MinimumNArgs(1),
	}
	names := cmd.Flags().StringArray("rules", []string{"builtin"}, "rules to run: builtin, or the `PATH` of a directory, file or .zip (repeatable)")
	pipelines := addPipelineFlag(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON, one match per line")
	why := cmd.Flags().Bool("why", false, "with --json, also print the values that a rule matched on")
	trim := addTrimFlag(cmd)
	var f reportFlags
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		options, err := f.options(time.Now())
		if err != nil {
			return err
		}
		set, err := loadRules(*names, *pipelines...)
		if err != nil {
			return err
		}
		options.Rules = set.Enabled
		report := scanreport.New(options, f.keepsRows())
		defer report.Close()
		for _, note := range set.Warnings {
			fprintfPrintable(cmd.ErrOrStderr(), "picket: %s\n", note)
		}
		for _, p := range set.Problems {
			fprintfPrintable(cmd.ErrOrStderr(), "picket: rule not loaded: %s\n", p)
		}
		out := newMatchPrinter(cmd.OutOrStdout(), *asJSON, *why)
		var p scan.Progress
		bar := startProgressBar(cmd.ErrOrStderr(), &p)
		start, bad := time.Now(), 0
		engine := detect.NewEngine(set.Rules, nil)
		if *trim {
			engine.TrimWindowsValues()
		}
		err = scan.Files(cmd.Context(), engine, args, &p,
			func(m scan.LocatedMatch) error {
				m, selected, err := report.Add(m)
				if err != nil || !selected || f.format != "" {
					return err
				}
				return out.print(m)
			},
			func(err error) {
				bad++
				bar.println("picket: " + picket.TrimErrorKindSuffix(err.Error()))
			})
		bar.stop()
		if err != nil {
			return err
		}
		if err := out.flush(); err != nil {
			return err
		}
		if !*asJSON {
			took, rate := time.Since(start), ""
			if took > time.Second { // else it says more about the start than about the rules
				rate = fmt.Sprintf(" (%.0f events/s)", float64(p.Events.Load())/took.Seconds())
			}
			fprintfPrintable(cmd.ErrOrStderr(), "%s in %s with %s, %s%s\n", quantity(report.Summary.Matches, "match"), quantity(p.Events.Load(), "event"),
				ruleset.CountKinds(set.Enabled), max(took.Round(time.Millisecond), time.Millisecond), rate)
		}
		if err := f.write(report, cmd.OutOrStdout(), cmd.ErrOrStderr(), *asJSON); err != nil {
			return err
		}
		switch {
		case bad > 0:
			return errSilent
		case f.failOnMatch && report.Summary.Matches > 0:
			return errMatchFound
		}
		return nil
	}
	cmd.AddCommand(newScanMetrics())
	return cmd
}

// addTrimFlag adds --trim.
func addTrimFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("trim", false, "ignore blanks at the end of the values of Windows events")
}

// loadRules loads the rules of --rules with the pipelines of --pipeline.
func loadRules(names []string, pipelines ...string) (ruleset.LoadedRules, error) {
	sources, err := ruleSources(names, pipelines...)
	if err != nil {
		return ruleset.LoadedRules{}, err
	}
	set, err := ruleset.Load(sources, nil)
	if err == nil && set.Rules.Len() == 0 && !slices.ContainsFunc(set.Problems, func(p ruleset.Problem) bool { return !p.EmptySource }) {
		err = fmt.Errorf("read rules: there are none in %s", strings.Join(names, ", "))
	}
	if err != nil && !errors.Is(err, ruleset.ErrPipeline) {
		err = withHint(err, rulesHint)
	}
	return set, err
}

const rulesHint = "rules are builtin, a directory, a .yml file or a .zip"

// ruleSources returns the sources that --rules and --pipeline name.
func ruleSources(names []string, pipelines ...string) ([]ruleset.Source, error) {
	sources, err := ruleset.ParseSources(names, rules.FS)
	if err != nil {
		return nil, withHint(err, rulesHint)
	}
	for _, name := range pipelines {
		sources = append(sources, ruleset.Source{Name: name, Pipeline: true})
	}
	return sources, nil
}
