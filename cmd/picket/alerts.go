package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/audit"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/triage"
)

func newAlerts() *cobra.Command {
	return newGroup("alerts", "List, show and triage alerts, beside a running server", newAlertsList(), newAlertsShow(), newAlertsSet())
}

// alertFilter are the flags that select alerts.
type alertFilter struct {
	query    store.AlertQuery
	statuses []string
	assignee string
	flags    *pflag.FlagSet // these flags alone
}

// addAlertFilterFlags adds the flags that select alerts.
func addAlertFilterFlags(cmd *cobra.Command) *alertFilter {
	f := &alertFilter{flags: pflag.NewFlagSet("", pflag.ContinueOnError)}
	f.flags.StringSliceVar(&f.statuses, "status", []string{"open", "investigating"}, "only alerts of these `STATUSES`: open, investigating, resolved, false_positive, or all")
	f.flags.StringSliceVar(&f.query.Level, "level", nil, "only alerts of these `LEVELS`: informational, low, medium, high, critical")
	f.flags.StringVar(&f.query.RuleID, "rule", "", "only alerts of the rule with this `ID`")
	f.flags.StringVar(&f.query.Host, "host", "", "only alerts of this `HOST`")
	f.flags.StringVar(&f.query.AgentID, "agent", "", "only alerts of this `AGENT`")
	f.flags.StringVar(&f.assignee, "assignee", "", "only alerts assigned to this `USER`; '': to nobody")
	f.flags.StringVar(&f.query.Text, "text", "", "only alerts with this `TEXT` in title, rule id, host or agent")
	addTimeRangeFlags(f.flags, &f.query.Since, &f.query.Until, "alerts last seen")
	cmd.Flags().AddFlagSet(f.flags)
	completeFlag(cmd, "status", append(alertStatusNames(), "all")...)
	completeFlag(cmd, "level", picket.AlertLevels()...)
	return f
}

func alertStatusNames() []string {
	var names []string
	for _, s := range picket.AlertStatuses() {
		names = append(names, string(s))
	}
	return names
}

// isGiven reports whether there is a flag that selects alerts.
func (f *alertFilter) isGiven() bool {
	given := false
	f.flags.VisitAll(func(flag *pflag.Flag) { given = given || flag.Changed })
	return given
}

// storeQuery returns the query of the flags.
func (f *alertFilter) storeQuery() (store.AlertQuery, error) {
	q := f.query
	if f.flags.Lookup("assignee").Changed {
		q.Assignee = &f.assignee
	}
	for _, level := range q.Level {
		if !slices.Contains(picket.AlertLevels(), level) {
			return q, usagef("--level %q is none of %s", level, strings.Join(picket.AlertLevels(), ", "))
		}
	}
	if slices.Equal(f.statuses, []string{"all"}) {
		return q, nil
	}
	for _, name := range f.statuses {
		status, err := parseAlertStatus("--status", name)
		if err != nil {
			return q, err
		}
		q.Status = append(q.Status, status)
	}
	return q, nil
}

func parseAlertStatus(flag, name string) (picket.AlertStatus, error) {
	if s := picket.AlertStatus(name); s.Valid() {
		return s, nil
	}
	return "", usagef("%s %q is none of %s", flag, name, strings.Join(alertStatusNames(), ", "))
}

func newAlertsList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List alerts that are not closed, or those that the flags select, last seen first", Args: cobra.NoArgs,
		Example: `  picket alerts list --level high,critical --assignee ''
  picket alerts list --status all --host web-1 --since 7d --json`,
	}
	location := addStoreFlags(cmd)
	filter := addAlertFilterFlags(cmd)
	limit := addLimitFlag(cmd, 50, "list at most `N`")
	asJSON := cmd.Flags().Bool("json", false, "print JSON, one alert per line")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q, err := filter.storeQuery()
		if err != nil {
			return err
		}
		return location.withStore(cmd, func(s store.Store) error { return listAlerts(cmd, s, q, *limit, *asJSON) })
	}
	return cmd
}

func listAlerts(cmd *cobra.Command, s store.Alerts, q store.AlertQuery, limit int, asJSON bool) error {
	tw := newTable(cmd.OutOrStdout())
	tw.uncut = 1 // the id is what the other commands take
	if !asJSON {
		fprintfPrintable(tw, "ID\tLEVEL\tSTATUS\tASSIGNEE\tMATCHES\tLAST SEEN\tHOST\tTITLE\n")
	}
	n := 0
	more, err := eachAlert(cmd.Context(), s, q, limit, func(a *picket.Alert) error {
		n++
		if asJSON {
			return printJSONLine(cmd.OutOrStdout(), a)
		}
		_, err := fprintfPrintable(tw, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", a.ID, a.Level, a.Status, a.Assignee, a.Count, formatTime(a.LastSeen), a.Host, a.Title)
		return err
	})
	if err != nil {
		return err
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if more {
		fprintfPrintable(cmd.ErrOrStderr(), "%s shown, there are more: raise --limit\n", quantity(n, "alert"))
	}
	return nil
}

// eachAlert calls f with up to limit alerts that q selects; 0 is no limit. more says that
// q selects further ones.
func eachAlert(ctx context.Context, s store.Alerts, q store.AlertQuery, limit int, f func(*picket.Alert) error) (more bool, err error) {
	const pageRows = 500
	for read := 0; ; {
		q.Limit = pageRows
		if limit > 0 {
			q.Limit = min(pageRows, limit-read)
		}
		page, err := s.Alerts(ctx, q)
		if err != nil {
			return false, err
		}
		for i := range page.Alerts {
			if err := f(&page.Alerts[i]); err != nil {
				return false, err
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return false, nil
		}
		if read += len(page.Alerts); limit > 0 && read >= limit {
			return true, nil
		}
	}
}

func newAlertsShow() *cobra.Command {
	cmd := &cobra.Command{Use: "show ID", Short: "Show an alert with its notes and its newest matches", Args: cobra.ExactArgs(1)}
	location := addStoreFlags(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return location.withStore(cmd, func(s store.Store) error {
			a, err := s.Alert(cmd.Context(), args[0])
			if err != nil {
				return withHint(err, "picket alerts list shows the ids")
			}
			const shown = 10
			page, err := s.Matches(cmd.Context(), store.MatchQuery{AlertID: a.ID, Limit: shown})
			if err != nil {
				return err
			}
			if *asJSON {
				return printJSONLine(cmd.OutOrStdout(), struct {
					picket.Alert
					Matches []picket.Match `json:"matches"`
				}{a, page.Matches})
			}
			return printAlert(cmd, &a, page.Matches)
		})
	}
	return cmd
}

// printAlert prints an alert and some of its matches.
func printAlert(cmd *cobra.Command, a *picket.Alert, matches []picket.Match) error {
	w := cmd.OutOrStdout()
	fprintfPrintable(w, "%s\n\n", a.Title)
	tw := newTable(w)
	fprintfPrintable(tw, "alert\t%s\nlevel\t%s\nstatus\t%s\n", a.ID, a.Level, a.Status)
	if a.Assignee != "" {
		fprintfPrintable(tw, "assignee\t%s\n", a.Assignee)
	}
	fprintfPrintable(tw, "host\t%s\nagent\t%s\nrule\t%s\n", a.Host, a.AgentID, a.RuleID)
	if len(a.Tags) > 0 {
		fprintfPrintable(tw, "tags\t%s\n", strings.Join(a.Tags, " "))
	}
	fprintfPrintable(tw, "seen\t%s to %s\nmatches\t%d\n", formatTime(a.FirstSeen), formatTime(a.LastSeen), a.Count)
	if err := tw.Flush(); err != nil {
		return err
	}
	for i := range matches {
		m := &matches[i]
		fprintfPrintable(w, "\n%s  event %s\n", formatTime(m.Time), m.EventID)
		for _, e := range m.Why {
			fprintfPrintable(w, "    %s=%s\n", e.Field, e.Value)
		}
	}
	if n := a.Count - int64(len(matches)); n > 0 {
		fprintfPrintable(w, "\n%d older: GET /api/v1/matches?alert_id=%s\n", n, a.ID)
	}
	for _, n := range a.Notes {
		fprintfPrintable(w, "\n%s  %s\n", formatTime(n.Time), n.Author)
		for line := range strings.Lines(n.Text) {
			fprintfPrintable(w, "    %s\n", strings.TrimRight(line, "\r\n"))
		}
	}
	return nil
}

func newAlertsSet() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set {ID... | FILTER...} [--set-status STATUS] [--set-assignee USER] [--note TEXT]",
		Short: "Change the status or the assignee of alerts, or add a note",
		Long: `Changes the alerts with these ids, or those that the flags of picket alerts list select.
The latter needs --yes; without it the command only says what it would change.`,
		Example: `  picket alerts set 1bce54dbf9fd4de22a84911639ff6162 --set-status resolved --note INC-7
  picket alerts set --rule 9b170e7e-feb7-517f-ad35-a5179b0a1d0e --set-status false_positive --note 'test machine' --yes`,
	}
	location := addStoreFlags(cmd)
	filter := addAlertFilterFlags(cmd)
	status := cmd.Flags().String("set-status", "", "the new `STATUS`: open, investigating, resolved or false_positive")
	assignee := cmd.Flags().String("set-assignee", "", "the `USER` to assign the alerts to; '': nobody")
	note := cmd.Flags().String("note", "", "add this `TEXT` to the history of each alert")
	yes := cmd.Flags().Bool("yes", false, "change what the filter selects")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	completeFlag(cmd, "set-status", alertStatusNames()...)
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		if filter.isGiven() == (len(ids) > 0) {
			return usagef("set alerts: give either ids or flags that select alerts, such as --rule")
		}
		u := store.AlertUpdate{Note: *note}
		if *status != "" {
			s, err := parseAlertStatus("--set-status", *status)
			if err != nil {
				return err
			}
			u.Status = &s
		}
		if cmd.Flags().Changed("set-assignee") {
			u.Assignee = assignee
		}
		if u.Status == nil && u.Assignee == nil && u.Note == "" {
			return usagef("set alerts: give --set-status, --set-assignee or --note")
		}
		q, err := filter.storeQuery()
		if err != nil {
			return err
		}
		return location.withStore(cmd, func(s store.Store) error {
			if len(ids) == 0 {
				selected, err := selectAlerts(cmd.Context(), s, q)
				if err != nil {
					return err
				}
				if !*yes {
					return selected.print(cmd, *asJSON)
				}
				ids = selected.ids
			}
			return setAlerts(cmd, s, ids, u, *asJSON)
		})
	}
	return cmd
}

// selectedAlerts are the alerts that a filter selects.
type selectedAlerts struct {
	ids     []string
	byTitle map[string]int
}

func selectAlerts(ctx context.Context, s store.Alerts, q store.AlertQuery) (selectedAlerts, error) {
	selected := selectedAlerts{byTitle: make(map[string]int)}
	_, err := eachAlert(ctx, s, q, 0, func(a *picket.Alert) error {
		selected.ids = append(selected.ids, a.ID)
		selected.byTitle[a.Level.String()+"\t"+a.Title]++
		return nil
	})
	return selected, err
}

// print says what would be changed.
func (p *selectedAlerts) print(cmd *cobra.Command, asJSON bool) error {
	if asJSON {
		return printJSONLine(cmd.OutOrStdout(), map[string]any{"selected": len(p.ids), "updated": 0, "failed": []string{}})
	}
	w := cmd.OutOrStdout()
	fprintfPrintable(w, "would change %s\n", quantity(len(p.ids), "alert"))
	titles := slices.SortedFunc(maps.Keys(p.byTitle), func(a, b string) int {
		if n := p.byTitle[b] - p.byTitle[a]; n != 0 {
			return n
		}
		return strings.Compare(a, b)
	})
	const shown = 20
	tw := newTable(w)
	for _, t := range titles[:min(len(titles), shown)] {
		level, title, _ := strings.Cut(t, "\t")
		fprintfPrintable(tw, "%d\t%s\t%s\n", p.byTitle[t], level, title)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if n := len(titles) - shown; n > 0 {
		fprintfPrintable(w, "and alerts of %d other titles\n", n)
	}
	if len(p.ids) > 0 {
		fprintfPrintable(cmd.ErrOrStderr(), "nothing is changed: --yes changes them\n")
	}
	return nil
}

// setAlerts updates alerts in the name of the user of the operating system.
func setAlerts(cmd *cobra.Command, s store.Store, ids []string, u store.AlertUpdate, asJSON bool) error {
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelError}))
	service := triage.Service{Alerts: s, Users: s, Audit: audit.NewRecorder(s, log, time.Now), Now: time.Now}
	if u.Assignee != nil {
		if err := service.CheckAssignee(cmd.Context(), *u.Assignee); err != nil {
			return withHint(fmt.Errorf("set alerts: %w", err), "picket user list shows the names")
		}
	}
	who := auth.Identity{Kind: auth.KindCLI, Subject: userName()}
	updated := 0
	type failure struct {
		ID    string `json:"id"`
		Error string `json:"error"`
	}
	failed := []failure{}
	for part := range slices.Chunk(ids, triage.MaxAlertsPerUpdate) {
		n, failures, err := service.UpdateAlerts(cmd.Context(), who, part, u)
		updated += n
		for _, f := range failures {
			failed = append(failed, failure{f.ID, picket.TrimErrorKindSuffix(f.Err.Error())})
		}
		if err != nil {
			return fmt.Errorf("%s changed: %w", quantity(updated, "alert"), err)
		}
	}
	if asJSON {
		if err := printJSONLine(cmd.OutOrStdout(), map[string]any{"selected": len(ids), "updated": updated, "failed": failed}); err != nil {
			return err
		}
	} else {
		for _, f := range failed {
			fprintfPrintable(cmd.ErrOrStderr(), "picket: %s\n", f.Error)
		}
		fprintfPrintable(cmd.OutOrStdout(), "%s changed\n", quantity(updated, "alert"))
	}
	if len(failed) > 0 {
		return fmt.Errorf("set alerts: %s not changed", quantity(len(failed), "alert"))
	}
	return nil
}
