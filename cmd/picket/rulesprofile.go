package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/internal/scan"
	"github.com/picket-edr/picket/sigma"
)

// A profileLine is the cost of one rule.
type profileLine struct {
	ID         string  `json:"id"`
	Title      string  `json:"title"`
	File       string  `json:"file"`
	Events     int64   `json:"events"`
	Candidates int64   `json:"candidates"`
	Matches    int64   `json:"matches"`
	Nanos      int64   `json:"ns"`
	Share      float64 `json:"share"` // fraction of the time of all rules
	PerEvent   float64 `json:"ns_per_event"`
	Prefilter  string  `json:"witness,omitempty"`
}

func newRulesProfile() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "profile [--rules PATH]... FILE...",
		Short: "Measure what each rule costs on files of events",
		Long: `Matches the events of files on one core and prints what each rule costs, the most
expensive first: how many events passed its prefilter, so that it was evaluated;
how many it matched; how long that took; and the prefilter. A rule without a
prefilter is evaluated for every event of its logsource.`,
		Example: `  picket rules profile --rules sigma/rules Security.evtx`,
		Args:    cobra.MinimumNArgs(1),
	}
	names := cmd.Flags().StringArray("rules", []string{"builtin"}, "rules to run: builtin, or a `PATH` (repeatable)")
	pipelines := addPipelineFlag(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON, one rule per line")
	top := cmd.Flags().Int("top", 20, "print the `N` most expensive rules; 0: all")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *top < 0 {
			return usagef("--top %d is below 0", *top)
		}
		set, err := loadRules(*names, *pipelines...)
		if err != nil {
			return err
		}
		p, err := profileRules(cmd, set.Rules, args)
		if err != nil {
			return err
		}
		return printProfile(cmd, p, *top, *asJSON)
	}
	return cmd
}

// profileRules matches the events of files and measures the rules.
func profileRules(cmd *cobra.Command, rules *sigma.RuleSet, paths []string) (*sigma.Profile, error) {
	reader, matcher, p := normalize.NewReader(), sigma.NewMatcher(), new(sigma.Profile)
	var fields []sigma.Field
	err := scan.ReadFiles(cmd.Context(), paths, new(scan.Progress), func(_ string, raw []byte) error {
		d, err := reader.Read(raw)
		if err != nil {
			return nil // values that are not events are skipped
		}
		fields = d.Fields(fields[:0])
		matcher.Profile(rules.Group(d.Class.Sources...), fields, p)
		return nil
	}, func(err error) { printProblem(cmd, err) })
	if err != nil {
		return nil, err
	}
	if p.Events == 0 {
		return nil, fmt.Errorf("read events: there are none in the files")
	}
	return p, nil
}

func printProfile(cmd *cobra.Command, p *sigma.Profile, top int, asJSON bool) error {
	all := p.Rules()
	var total time.Duration
	for _, r := range all {
		total += r.Time
	}
	if top > 0 && top < len(all) {
		all = all[:top]
	}
	tw := newTable(cmd.OutOrStdout())
	if !asJSON {
		fprintfPrintable(tw, "time\tshare\tper event\tcandidates\tmatches\tevents\trule\tprefilter\n")
	}
	for _, r := range all {
		line := profileLine{
			ID: r.Rule.ID, Title: r.Rule.Title, File: r.Rule.File, Events: r.Events, Candidates: r.Candidates, Matches: r.Matches,
			Nanos: r.Time.Nanoseconds(), Share: float64(r.Time) / float64(max(total, 1)), PerEvent: float64(r.Time) / float64(r.Events), Prefilter: r.Prefilter,
		}
		if asJSON {
			if err := printJSONLine(cmd.OutOrStdout(), line); err != nil {
				return err
			}
			continue
		}
		prefilter := line.Prefilter
		if prefilter == "" {
			prefilter = "none"
		}
		fprintfPrintable(tw, "%s\t%.1f%%\t%s ns\t%d\t%d\t%d\t%s\t%s\n", r.Time.Round(max(r.Time/1000, 1)), 100*line.Share,
			strconv.FormatFloat(line.PerEvent, 'f', 1, 64), r.Candidates, r.Matches, r.Events, r.Rule.Title, shortenForTerminal(prefilter))
	}
	if err := tw.Flush(); err != nil || asJSON {
		return err
	}
	n := time.Duration(p.Events)
	_, err := fprintfPrintable(cmd.ErrOrStderr(), "%d events: finding candidates %s an event, evaluating rules %s an event\n", p.Events, p.CandidateTime/n, total/n)
	return err
}

// shortenForTerminal cuts a text to the length of a line.
func shortenForTerminal(s string) string {
	const most = 100
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
