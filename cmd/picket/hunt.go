package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/normalize"
	"github.com/picket-edr/picket/internal/store"
)

// eventsByTime is what the flags of a time range select among stored events.
const eventsByTime = "events that happened"

func newHunt() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hunt [QUERY]",
		Short: "Search the stored events, newest first, beside a running server",
		Example: `  picket hunt 'Image=*\powershell.exe and CommandLine~"(?i)-enc"'
  picket hunt --since 1h 'mimikatz or host=WS-042'
  picket hunt --since 2026-11-30 --until 2026-12-01T08:00:00Z 'User=root'
  picket hunt --since 24h --fields time,User,CommandLine --csv event_type=process_creation
  picket hunt --since 24h --count-by User,Image`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("hunt: the query is one argument, and here are %d: quote it, as in picket hunt '%s'", len(args), strings.Join(args, " "))
			}
			return nil
		},
	}
	location := addStoreFlags(cmd)
	var q store.EventQuery
	addTimeRangeFlags(cmd.Flags(), &q.Since, &q.Until, eventsByTime)
	var o huntOutput
	limit := addLimitFlag(cmd, 100, "print at most `N` events or counts")
	cmd.Flags().StringSliceVar(&o.fields, "fields", nil, "print these `FIELDS` of each event, such as time,host,Image")
	countBy := cmd.Flags().StringSlice("count-by", nil, "count the events by the values of these `FIELDS`, and print the counts")
	cmd.Flags().BoolVar(&o.csv, "csv", false, "print CSV, for spreadsheets")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON, one line for each event, as received unless --fields is given, or count")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.limit = *limit
		switch {
		case o.csv && o.json:
			return usagef("--csv and --json: only one of them is possible")
		case len(o.fields) > 0 && len(*countBy) > 0:
			return usagef("--fields and --count-by: only one of them is possible")
		case slices.Contains(o.fields, "") || slices.Contains(*countBy, ""):
			return usagef("a name is missing between the commas of --fields or --count-by")
		}
		if len(args) == 1 && strings.TrimSpace(args[0]) != "" {
			var err error
			if q.Where, err = store.ParseQuery(args[0]); err != nil {
				return &usageError{err}
			}
		}
		return location.withStore(cmd, func(s store.Store) error {
			if err := printQueryNotes(cmd, s, q.Where, slices.Concat(o.fields, *countBy)); err != nil {
				return err
			}
			if len(*countBy) > 0 {
				return o.printCounts(cmd, s, q, *countBy)
			}
			return o.printEvents(cmd, s, q)
		})
	}
	return cmd
}

// huntOutput is how the result of a hunt is printed.
type huntOutput struct {
	limit     int // of events or counts; 0: all
	fields    []string
	csv, json bool
}

// printQueryNotes prints a note about each field, of a query or others, that no event has,
// and about words of the query that look like comparisons.
func printQueryNotes(cmd *cobra.Command, s store.FieldLister, where store.Expr, others []string) error {
	notes, err := store.UnknownFieldNotes(cmd.Context(), s, slices.Concat(store.QueryFields(where), others), normalize.TaxonomyFields())
	for _, note := range append(notes, store.ComparisonNotes(where)...) {
		fprintfPrintable(cmd.ErrOrStderr(), "picket: note: %s\n", note)
	}
	return err
}

// huntPage is how many events a hunt reads at a time.
const huntPage = 500

// printEvents prints the events that q selects.
func (o *huntOutput) printEvents(cmd *cobra.Command, s store.Events, q store.EventQuery) error {
	out := o.newEventPrinter(cmd.OutOrStdout())
	var view store.EventView
	printed := 0
	more, err := eachPage(cmd.Context(), s, q, o.limit, func(page store.EventPage) error {
		for i := range page.Events {
			view.Reset(&page.Events[i])
			if err := out.print(&page.Events[i], &view); err != nil {
				return err
			}
		}
		printed += len(page.Events)
		return out.flush()
	})
	if more {
		fprintfPrintable(cmd.ErrOrStderr(), "%s shown, there are more: raise --limit, or narrow the time with --since and --until\n", quantity(printed, "event"))
	}
	return err
}

// eachPage calls f with pages of up to limit events together; 0 is no limit. more says
// that q selects further events.
func eachPage(ctx context.Context, s store.Events, q store.EventQuery, limit int, f func(store.EventPage) error) (more bool, err error) {
	for read := 0; ; {
		q.Limit = huntPage
		if limit > 0 {
			q.Limit = min(huntPage, limit-read)
		}
		page, err := s.SearchEvents(ctx, q)
		if err == nil {
			err = f(page)
		}
		if err != nil || page.Next == "" {
			return false, err
		}
		if read += len(page.Events); limit > 0 && read >= limit {
			return true, nil
		}
		q.Cursor = page.Next
	}
}

// printCounts prints how many events that q selects have each combination of values.
func (o *huntOutput) printCounts(cmd *cobra.Command, s store.Events, q store.EventQuery, fields []string) error {
	counts, err := s.CountEvents(cmd.Context(), q, fields)
	if err != nil {
		return err
	}
	top := counts.Top(o.limit)
	out := o.newRowPrinter(cmd.OutOrStdout(), append([]string{"count"}, fields...))
	for _, c := range top {
		if err := out.printCount(c); err != nil {
			return err
		}
	}
	if err := out.flush(); err != nil {
		return err
	}
	if n := counts.Len(); n > len(top) {
		fprintfPrintable(cmd.ErrOrStderr(), "%d of %s shown: raise --limit\n", len(top), quantity(n, "count"))
	}
	if counts.Uncounted > 0 {
		fprintfPrintable(cmd.ErrOrStderr(), "picket: note: there are more combinations than are kept in memory: %s of %d have further ones, which are not in the list\n",
			quantity(counts.Uncounted, "event"), counts.Events)
	}
	return nil
}
