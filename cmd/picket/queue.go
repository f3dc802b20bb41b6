package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/queue"
)

func newQueue() *cobra.Command {
	return newGroup("queue", "Inspect the queue and requeue or purge its dead letters, beside a running server",
		queueCommand("stats", "Show the size of the queue and its counters", cobra.NoArgs, printQueueStats),
		queueCommand("peek", "List waiting messages, oldest first", cobra.NoArgs, printQueueMessages),
		queueCommand("dead", "List dead letters with their causes, newest first", cobra.NoArgs, printDeadLetters),
		queueCommand("requeue ID... | --all", "Put dead letters back into the queue", cobra.ArbitraryArgs, deadLetterAction("requeued", queue.Inspector.Requeue)),
		queueCommand("purge ID... | --all", "Delete dead letters for good", cobra.ArbitraryArgs, deadLetterAction("deleted", queue.Inspector.Purge)),
	)
}

// A queueAction is what a subcommand does with an open queue.
type queueAction func(cmd *cobra.Command, q queue.Inspector, args []string, asJSON bool) error

func queueCommand(use, short string, check cobra.PositionalArgs, run queueAction) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: check}
	at, name := addStoreFlags(cmd), addQueueFlag(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	switch cmd.Name() {
	case "peek", "dead":
		cmd.Flags().Int("limit", 20, "list at most `N`")
	case "requeue", "purge":
		cmd.Flags().Bool("all", false, "all dead letters")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q, err := openQueueBesideServer(cmd.Context(), *name, at.data)
		if err != nil {
			return err
		}
		err = errors.Join(run(cmd, q, args, *asJSON), q.Close())
		if changes := cmd.Flags().Lookup("all") != nil; err == nil && changes {
			at.recordChanges(cmd, "queue."+cmd.Name(), "", cmp.Or(strings.Join(args, " "), "all"))
		}
		return err
	}
	return cmd
}

func printQueueStats(cmd *cobra.Command, q queue.Inspector, _ []string, asJSON bool) error {
	st, err := q.Stats(cmd.Context())
	if err != nil {
		return err
	}
	if asJSON {
		return printJSONLine(cmd.OutOrStdout(), st)
	}
	tw := newTable(cmd.OutOrStdout())
	fprintfPrintable(tw, "pending\t%s, %s\n", quantity(st.Pending, "message"), quantity(st.PendingEvents, "event"))
	fprintfPrintable(tw, "leased\t%s, %s\n", quantity(st.Leased, "message"), quantity(st.LeasedEvents, "event"))
	fprintfPrintable(tw, "dead\t%s\n", quantity(st.Dead, "letter"))
	fprintfPrintable(tw, "oldest\t%.1f s\n", st.OldestAge)
	fprintfPrintable(tw, "size\t%d of %d bytes\n", st.Bytes, st.MaxBytes)
	fprintfPrintable(tw, "rates\t%.1f events/s in, %.1f out\n", st.InRate, st.OutRate)
	fprintfPrintable(tw, "so far\t%d accepted, %d rejected, %d failed, %d purged, %d dropped\n", st.Accepted, st.Rejected, st.Failed, st.Purged, st.Dropped)
	return tw.Flush()
}

func printQueueMessages(cmd *cobra.Command, q queue.Inspector, _ []string, asJSON bool) error {
	limit, _ := cmd.Flags().GetInt("limit")
	ds, err := q.Peek(cmd.Context(), limit)
	if err != nil {
		return err
	}
	for _, d := range ds {
		row := struct {
			ID       string    `json:"id"`
			Events   int       `json:"events"`
			Bytes    int       `json:"bytes"`
			Attempt  int       `json:"attempt"`
			Enqueued time.Time `json:"enqueued"`
		}{d.ID, d.Events, len(d.Payload), d.Attempt, d.Enqueued}
		if asJSON {
			err = printJSONLine(cmd.OutOrStdout(), row)
		} else {
			_, err = fprintfPrintable(cmd.OutOrStdout(), "%s  %s  %s  %s  delivered %s\n", formatTime(row.Enqueued), row.ID, quantity(row.Events, "event"), quantity(row.Bytes, "byte"), quantity(row.Attempt-1, "time"))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func printDeadLetters(cmd *cobra.Command, q queue.Inspector, _ []string, asJSON bool) error {
	limit, _ := cmd.Flags().GetInt("limit")
	for before := int64(0); limit > 0; {
		page, err := q.DeadLetters(cmd.Context(), before, limit)
		if err != nil {
			return err
		}
		for _, l := range page.DeadLetters {
			if err := printDeadLetter(cmd, l, asJSON); err != nil {
				return err
			}
		}
		limit -= len(page.DeadLetters)
		if before = page.Next; before == 0 {
			break
		}
	}
	return nil
}

func printDeadLetter(cmd *cobra.Command, l queue.DeadLetter, asJSON bool) error {
	if asJSON {
		return printJSONLine(cmd.OutOrStdout(), struct {
			queue.DeadLetter
			Event any `json:"event"`
		}{l, deadLetterEventJSON(l)})
	}
	_, err := fprintfPrintable(cmd.OutOrStdout(), "%-6d  %s  %-8s  agent %s  event %s\n        %s\n",
		l.ID, formatTime(l.Time), l.Reason, l.AgentID, l.EventID, l.Cause)
	return err
}

// deadLetterEventJSON returns the event of a dead letter: as JSON if it is, else as
// text.
func deadLetterEventJSON(l queue.DeadLetter) any {
	b, err := picket.DecodeBatch(l.Payload)
	if err != nil || len(b.Events) != 1 {
		return nil
	}
	if raw := b.Events[0].Raw; json.Valid(raw) {
		return json.RawMessage(raw)
	}
	return string(b.Events[0].Raw)
}

func deadLetterAction(did string, do func(queue.Inspector, context.Context, ...int64) (int, error)) queueAction {
	return func(cmd *cobra.Command, q queue.Inspector, args []string, asJSON bool) error {
		all, _ := cmd.Flags().GetBool("all")
		if all == (len(args) > 0) {
			return usagef("name dead letters by id, or give --all")
		}
		ids := make([]int64, len(args))
		for i, a := range args {
			id, err := strconv.ParseInt(a, 10, 64)
			if err != nil {
				return usagef("%q is no dead letter's id", a)
			}
			ids[i] = id
		}
		n, err := do(q, cmd.Context(), ids...)
		if err != nil {
			return err
		}
		slices.Sort(ids)
		switch missing := len(slices.Compact(ids)) - n; {
		case !all && n == 0:
			return withHint(fmt.Errorf("none %s: there is no dead letter of such an id, or it was kept without its event", did), "picket queue dead lists them")
		case !all && missing > 0:
			fprintfPrintable(cmd.ErrOrStderr(), "picket: warning: %d of the ids are not those of dead letters, or of such that were kept without their events\n", missing)
		}
		if asJSON {
			return printJSONLine(cmd.OutOrStdout(), map[string]int{"count": n})
		}
		_, err = fprintfPrintable(cmd.OutOrStdout(), "%d %s\n", n, did)
		return err
	}
}
