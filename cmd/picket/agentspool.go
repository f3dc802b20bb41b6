package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/agent"
	"github.com/picket-edr/picket/internal/backoff"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/zst"
)

// spoolFile is the spool's file in its directory.
const spoolFile = "spool.db"

// runWithSpool runs an agent with its spool. A spool that is damaged, also while the agent
// runs, is replaced by a new one with what can be read of it.
func runWithSpool(ctx context.Context, f agentFlags, o agent.Options) error {
	path, options := filepath.Join(f.spool, spoolFile), sqlitequeue.Options{MaxBytes: f.spoolBytes, MinFreeDisk: sqlitequeue.DefaultMinFreeDisk, IgnoreLost: true, Logger: o.Logger}
	spool, err := openIntactSpool(ctx, path, options)
	for {
		if errors.Is(err, queue.ErrDamaged) && ctx.Err() == nil {
			var lost int64
			if spool, lost, err = replaceSpool(ctx, path, options, err); err == nil {
				o.LostEvents += lost
			}
		}
		if err != nil {
			return err
		}
		o.Spool = spool
		a := agent.New(o)
		err = a.Run(ctx)
		o.LostEvents = a.UnreportedLoss()
		if closeErr := spool.Close(); !errors.Is(err, queue.ErrDamaged) {
			return errors.Join(err, closeErr)
		}
		backoff.Sleep(ctx, time.Second) // a disk that damages each spool is not to be kept busy
	}
}

// openIntactSpool opens a spool if it is intact, and creates it if it does not exist.
func openIntactSpool(ctx context.Context, path string, o sqlitequeue.Options) (*sqlitequeue.Queue, error) {
	if err := sqlitequeue.FinishSalvage(path); err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err == nil {
		if err := sqlitequeue.Check(ctx, path); err != nil {
			return nil, err
		}
	}
	spool, err := sqlitequeue.Open(path, o)
	if errors.Is(err, sqlitequeue.ErrNewerFile) { // or its version is damaged; an agent does not stop for it
		err = fmt.Errorf("%w: %w", err, queue.ErrDamaged)
	}
	return spool, err
}

// replaceSpool salvages a damaged spool, reports what is lost, and opens the new one.
func replaceSpool(ctx context.Context, path string, o sqlitequeue.Options, damage error) (spool *sqlitequeue.Queue, lost int64, err error) {
	report, err := sqlitequeue.Salvage(path, agent.IsIntact)
	if err != nil {
		return nil, 0, err
	}
	lostText := strconv.FormatInt(report.LostEvents, 10)
	if report.LostEvents < 0 {
		lostText = "unknown"
	}
	o.Logger.Error("spool damaged; what could be read is in a new one", "events", report.Events, "dead_letters", report.DeadLetters,
		"lost_events", lostText, "damaged_file", report.KeptAs, "error", damage)
	if spool, err = sqlitequeue.Open(path, o); err != nil || report.LostEvents == 0 {
		return spool, 0, err
	}
	m, err := agent.NewLossReport(report.LostEvents, time.Now())
	if err == nil {
		err = spool.Enqueue(ctx, m)
	}
	if err != nil {
		o.Logger.Error("the server is not told of events that a damaged spool has lost", "error", err)
	}
	return spool, max(report.LostEvents, 0), nil
}

func newAgentSpool() *cobra.Command {
	return newGroup("spool", "What waits in the spool, and what the server refused, beside a running agent",
		agentSpoolCommand("stats", "Print how much waits to be sent", cobra.NoArgs, printSpoolStats),
		agentSpoolCommand("list", "List what the server refused and why, newest first", cobra.NoArgs, printRefusedEvents),
		agentSpoolCommand("requeue ID... | --all", "Send refused events again", cobra.ArbitraryArgs, deadLetterAction("requeued", queue.Inspector.Requeue)),
		agentSpoolCommand("purge ID... | --all", "Delete refused events for good", cobra.ArbitraryArgs, deadLetterAction("deleted", queue.Inspector.Purge)),
	)
}

func agentSpoolCommand(use, short string, check cobra.PositionalArgs, run queueAction) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: check}
	dir := cmd.Flags().String("spool", defaultSpoolDir, "`DIR` of the agent's spool")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	if cmd.Name() != "list" && cmd.Name() != "stats" {
		cmd.Flags().Bool("all", false, "all refused events")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path := filepath.Join(*dir, spoolFile)
		if _, err := os.Stat(path); err != nil { // opening it would create it
			return withHint(fmt.Errorf("open spool: %w", err), "give the --spool of the agent")
		}
		q, err := sqlitequeue.Open(path, sqlitequeue.Options{IgnoreLost: true, Logger: slog.New(slog.DiscardHandler)})
		if errors.Is(err, queue.ErrDamaged) {
			return withHint(err, "start the agent, which salvages what can be read")
		}
		if err != nil {
			return err
		}
		return errors.Join(run(cmd, q, args, *asJSON), q.Close())
	}
	return cmd
}

// printSpoolStats prints how much is in a spool.
func printSpoolStats(cmd *cobra.Command, q queue.Inspector, _ []string, asJSON bool) error {
	s, err := q.Stats(cmd.Context())
	if err != nil {
		return err
	}
	waiting := struct {
		Events    int64   `json:"waiting_events"`
		Batches   int64   `json:"waiting_batches"`
		OldestAge float64 `json:"oldest_age_s"`
		Refused   int64   `json:"refused"`
		Bytes     int64   `json:"bytes"`
	}{int64(s.PendingEvents + s.LeasedEvents), int64(s.Pending + s.Leased), s.OldestAge, int64(s.Dead), s.Bytes}
	if asJSON {
		return printJSONLine(cmd.OutOrStdout(), waiting)
	}
	tw := newTable(cmd.OutOrStdout())
	oldest := time.Duration(waiting.OldestAge * float64(time.Second)).Round(time.Second)
	fprintfPrintable(tw, "waiting\t%s in %s, the oldest for %v\n", quantity(waiting.Events, "event"), quantity(waiting.Batches, "batch"), oldest)
	fprintfPrintable(tw, "refused\t%d, see picket agent spool list\n", waiting.Refused)
	fprintfPrintable(tw, "size\t%d bytes\n", waiting.Bytes)
	return tw.Flush()
}

// printRefusedEvents prints the dead letters of a spool.
func printRefusedEvents(cmd *cobra.Command, q queue.Inspector, _ []string, asJSON bool) error {
	for before := int64(0); ; {
		page, err := q.DeadLetters(cmd.Context(), before, 100)
		if err != nil {
			return err
		}
		for _, l := range page.DeadLetters {
			if asJSON {
				err = printJSONLine(cmd.OutOrStdout(), struct {
					ID      int64           `json:"id"`
					Time    time.Time       `json:"time"`
					Events  int             `json:"events"`
					Cause   string          `json:"cause"`
					Content json.RawMessage `json:"content"`
				}{l.ID, l.Time, l.Events, l.Cause, spooledEvents(l.Payload)})
			} else {
				_, err = fprintfPrintable(cmd.OutOrStdout(), "%-6d  %s  events %d\n        %s\n", l.ID, formatTime(l.Time), l.Events, l.Cause)
			}
			if err != nil {
				return err
			}
		}
		if before = page.Next; before == 0 {
			return nil
		}
	}
}

// spooledEvents returns the events of a batch as JSON, nil if they cannot be read.
func spooledEvents(payload []byte) json.RawMessage {
	if events, err := zst.Decompress(nil, payload); err == nil && json.Valid(events) {
		return events
	}
	return nil
}
