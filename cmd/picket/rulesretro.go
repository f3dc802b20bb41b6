package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/scan"
	"github.com/picket-edr/picket/internal/store"
)

func newRulesRetro() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retro RULE...",
		Short: "Run rules over the stored events, beside a running server",
		Long: `Runs rules over the stored events, newest first, and prints the matches. Use it to
test a new or changed rule on past events. RULE is a file or directory of rules, or
the id, name or title of a rule in --rules. The command changes nothing and opens no
alerts.`,
		Example: `  picket rules retro new-rule.yml --since 7d
  picket rules retro 9b170e7e-feb7-517f-ad35-a5179b0a1d0e --json`,
		Args: cobra.MinimumNArgs(1),
	}
	location := addStoreFlags(cmd)
	names := cmd.Flags().StringArray("rules", []string{"builtin"}, "rules that RULE may name: builtin, or a `PATH` (repeatable)")
	var q store.EventQuery
	addTimeRangeFlags(cmd.Flags(), &q.Since, &q.Until, eventsByTime)
	asJSON := cmd.Flags().Bool("json", false, "print JSON, one match per line")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dir, err := location.existingDir()
		if err != nil {
			return err
		}
		packs := *names
		if _, err := os.Stat(dir.packDir().Path); err == nil {
			packs = append(packs, dir.packDir().Path)
		}
		set, wanted, err := loadSelectedRules(args, packs)
		if err != nil {
			return err
		}
		for _, p := range set.Problems {
			fprintfPrintable(cmd.ErrOrStderr(), "picket: rule not loaded: %s\n", p)
		}
		return location.withStore(cmd, func(s store.Store) error { return runRetro(cmd, s, q, set, wanted, *asJSON) })
	}
	return cmd
}

// loadSelectedRules loads the named rules: files, and single rules of packs. wanted are the ids
// of the latter.
func loadSelectedRules(names, packs []string) (set ruleset.LoadedRules, wanted map[string]bool, err error) {
	var paths, single []string
	for _, n := range names {
		if _, err := os.Stat(n); err == nil {
			paths = append(paths, n)
		} else {
			single = append(single, n)
		}
	}
	wanted = make(map[string]bool)
	if len(paths) > 0 {
		if set, err = loadRules(paths); err != nil {
			return set, nil, err
		}
		for _, e := range set.Enabled {
			wanted[e.ID] = true
		}
	}
	if len(single) == 0 {
		return set, wanted, nil
	}
	if set, err = loadRules(append(paths, packs...)); err != nil {
		return set, nil, err
	}
	for _, n := range single {
		found := false
		for _, e := range set.Enabled {
			if strings.EqualFold(e.ID, n) || e.Name == n || strings.EqualFold(e.Title, n) {
				wanted[e.ID], found = true, true
			}
		}
		if !found {
			return set, nil, withHint(fmt.Errorf("no rule is called %q", n), "a rule is named by its id, name or title, or by the path of its file")
		}
	}
	return set, wanted, nil
}

// runRetro runs rules over the events that q selects.
func runRetro(cmd *cobra.Command, s store.Events, q store.EventQuery, set ruleset.LoadedRules, wanted map[string]bool, asJSON bool) error {
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	totals, err := s.Totals(ctx)
	if err != nil {
		return err
	}
	var p scan.Progress
	p.Total.Store(totals.RawBytes)
	out := newMatchPrinter(cmd.OutOrStdout(), false, false)
	out.stored = true
	bar := startProgressBar(cmd.ErrOrStderr(), &p)
	start, n := time.Now(), 0
	err = scan.Events(ctx, detect.NewEngine(set.Rules, nil), &p, func(m scan.LocatedMatch) error {
		if !wanted[m.RuleID] {
			return nil
		}
		n++
		if asJSON {
			return printRetroMatchJSON(out, m)
		}
		m.File = m.Host + "  " + m.EventID
		return out.print(m)
	}, eachStoredEvent(ctx, s, q, &p))
	bar.stop()
	if err := errors.Join(err, out.flush()); err != nil {
		return fmt.Errorf("run rules over stored events: %w", err)
	}
	if !asJSON {
		fprintfPrintable(cmd.ErrOrStderr(), "%s in %s with %s, %s\n", quantity(n, "match"), quantity(p.Events.Load(), "event"), quantity(len(wanted), "rule"), time.Since(start).Round(time.Millisecond))
	}
	return nil
}

// eachStoredEvent yields the events that q selects, newest received first, and counts
// their bytes.
func eachStoredEvent(ctx context.Context, s store.Events, q store.EventQuery, p *scan.Progress) iter.Seq2[picket.Event, error] {
	return func(yield func(picket.Event, error) bool) {
		for q.Limit = 2000; ; {
			page, err := s.SearchEvents(ctx, q)
			if err != nil {
				yield(picket.Event{}, err)
				return
			}
			for _, ev := range page.Events {
				p.Bytes.Add(int64(len(ev.Raw)))
				if !yield(ev, nil) {
					return
				}
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				return
			}
		}
	}
}

func printRetroMatchJSON(p *matchPrinter, m scan.LocatedMatch) error {
	if m.Tags == nil {
		m.Tags = []string{}
	}
	return printJSONLine(p.w, struct {
		RuleID  string          `json:"rule_id"`
		Title   string          `json:"title"`
		Level   string          `json:"level"`
		Tags    []string        `json:"tags"`
		EventID string          `json:"event_id"`
		AgentID string          `json:"agent_id"`
		Host    string          `json:"host"`
		Time    time.Time       `json:"time"`
		Event   json.RawMessage `json:"event"`
	}{m.RuleID, m.Title, m.Level.String(), m.Tags, m.EventID, m.AgentID, m.Host, m.Time, m.Raw})
}
