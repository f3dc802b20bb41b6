package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/scan"
	"github.com/picket-edr/picket/sigma"
)

func newBench() *cobra.Command {
	return newGroup("bench", "Measure detection, or a server's whole pipeline", newBenchDetect(), newBenchPipeline(), newBenchSizing())
}

// A benchDetectResult is the result of bench detect, on one core.
type benchDetectResult struct {
	Events  int     `json:"events"`
	Bytes   int64   `json:"bytes"`
	Rules   int     `json:"rules"`
	Matches int     `json:"matches"` // of one pass over the events
	Parse   float64 `json:"parse_per_s"`
	Match   float64 `json:"match_per_s"`
	Both    float64 `json:"both_per_s"`
	JSON    float64 `json:"encoding_json_per_s"` // encoding/json into a map, for comparison
}

func newBenchDetect() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "detect --rules PATH FILE|DIR...",
		Short: "Measure parsing alone, matching alone, and both, on one core",
		Long: `Measures parsing alone, matching alone, and both, on one core. For comparison, it
also measures how long Go's encoding/json takes to decode the same events into maps.`,
		Args: cobra.MinimumNArgs(1),
	}
	names := cmd.Flags().StringArray("rules", []string{"builtin"}, "rules to run: builtin, or a `PATH` (repeatable)")
	pipelines := addPipelineFlag(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	each := cmd.Flags().Duration("for", 2*time.Second, "how long each measurement takes")
	sample := cmd.Flags().Int("sample", 0, "run only `N` of the rules, sampled evenly; 0: all")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		set, err := loadSample(*names, *pipelines, *sample)
		if err != nil {
			return err
		}
		events, err := readEvents(cmd, args)
		if err != nil {
			return err
		}
		res, err := benchDetect(set.Rules, events, *each)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSONLine(cmd.OutOrStdout(), res)
		}
		_, err = fprintfPrintable(cmd.OutOrStdout(), "%s (%d bytes), %s, %s, one core:\n"+
			"  parsing alone   %9.0f events/s\n  matching alone  %9.0f events/s\n  both            %9.0f events/s\n"+
			"encoding/json     %9.0f events/s: matching takes %.2f, both take %.2f of its time\n",
			quantity(res.Events, "event"), res.Bytes, quantity(res.Rules, "rule"), quantity(res.Matches, "match"), res.Parse, res.Match, res.Both, res.JSON, res.JSON/res.Match, res.JSON/res.Both)
		return err
	}
	return cmd
}

// readEvents reads the events of files and directories into memory.
func readEvents(cmd *cobra.Command, paths []string) ([][]byte, error) {
	var events [][]byte
	err := scan.ReadFiles(cmd.Context(), paths, new(scan.Progress), func(_ string, raw []byte) error {
		events = append(events, raw)
		return nil
	}, func(err error) { printProblem(cmd, err) })
	if err == nil && len(events) == 0 {
		err = errors.New("read events: there are none in the files")
	}
	return events, err
}

// printProblem prints what is wrong with a file or a record that is skipped.
func printProblem(cmd *cobra.Command, err error) {
	fprintfPrintable(cmd.ErrOrStderr(), "picket: %s\n", picket.TrimErrorKindSuffix(err.Error()))
}

// matcherInput is an event ready for matching.
type matcherInput struct {
	group  *sigma.RuleGroup
	fields []sigma.Field
}

func benchDetect(rules *sigma.RuleSet, events [][]byte, each time.Duration) (benchDetectResult, error) {
	res := benchDetectResult{Events: len(events), Rules: rules.Len()}
	reader, matcher := normalize.NewReader(), sigma.NewMatcher()
	groups := make(map[*normalize.Class]*sigma.RuleGroup)
	group := func(rt *normalize.Class) *sigma.RuleGroup {
		g, ok := groups[rt]
		if !ok {
			g = rules.Group(rt.Sources...)
			groups[rt] = g
		}
		return g
	}
	ready := make([]matcherInput, len(events))
	for i, raw := range events {
		res.Bytes += int64(len(raw))
		d, err := reader.Read(raw)
		if err != nil {
			return res, fmt.Errorf("parse event %d: %w", i+1, err)
		}
		ready[i] = matcherInput{group(d.Class), d.Fields(nil)}
	}
	var fields []sigma.Field
	var fired []*sigma.Rule
	for i := range ready {
		fired = matcher.Match(ready[i].group, ready[i].fields, fired[:0])
		res.Matches += len(fired)
	}
	res.Parse = measureRate(each, len(events), func(i int) {
		d, _ := reader.Read(events[i])
		fields = d.Fields(fields[:0])
	})
	res.Match = measureRate(each, len(events), func(i int) {
		fired = matcher.Match(ready[i].group, ready[i].fields, fired[:0])
	})
	res.Both = measureRate(each, len(events), func(i int) {
		d, _ := reader.Read(events[i])
		fields = d.Fields(fields[:0])
		fired = matcher.Match(group(d.Class), fields, fired[:0])
	})
	res.JSON = measureRate(each, len(events), func(i int) {
		var m map[string]any
		_ = json.Unmarshal(events[i], &m) // parsed successfully before
	})
	return res, nil
}

// loadSample loads a sample of n rules, evenly spaced.
func loadSample(names, pipelines []string, n int) (ruleset.LoadedRules, error) {
	set, err := loadRules(names, pipelines...)
	if err != nil || n <= 0 || n >= len(set.Enabled) {
		return set, err
	}
	off := make(map[string]bool)
	for i, e := range set.Enabled {
		off[e.ID] = i*n/len(set.Enabled) == (i+1)*n/len(set.Enabled)
	}
	sources, err := ruleSources(names, pipelines...)
	if err != nil {
		return set, err
	}
	return ruleset.Load(sources, off)
}

// measureRate runs f over the events in whole passes for at least a given time, and
// returns events per second.
func measureRate(minTime time.Duration, events int, f func(i int)) float64 {
	start, done := time.Now(), 0
	for time.Since(start) < minTime {
		for i := range events {
			f(i)
		}
		done += events
	}
	return float64(done) / time.Since(start).Seconds()
}
