package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/zst"
)

// spoolFile is the spool's file in its directory.
const spoolFile = "spool.db"

func newAgentSpool() *cobra.Command {
	return newGroup("spool", "List, requeue and purge the events that the server refused, beside a running agent",
		agentSpoolCommand("list", "List what the server refused and why, newest first", cobra.NoArgs, printRefusedEvents),
		agentSpoolCommand("requeue ID... | --all", "Send refused events again", cobra.ArbitraryArgs, deadLetterAction("requeued", queue.Inspector.Requeue)),
		agentSpoolCommand("purge ID... | --all", "Delete refused events for good", cobra.ArbitraryArgs, deadLetterAction("deleted", queue.Inspector.Purge)),
	)
}

func agentSpoolCommand(use, short string, check cobra.PositionalArgs, run queueAction) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: check}
	dir := cmd.Flags().String("spool", defaultSpoolDir, "`DIR` of the agent's spool")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	if cmd.Name() != "list" {
		cmd.Flags().Bool("all", false, "all refused events")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path := filepath.Join(*dir, spoolFile)
		if _, err := os.Stat(path); err != nil { // opening it would create it
			return withHint(fmt.Errorf("open spool: %w", err), "give the --spool of the agent")
		}
		q, err := sqlitequeue.Open(path, sqlitequeue.Options{IgnoreLost: true, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return err
		}
		return errors.Join(run(cmd, q, args, *asJSON), q.Close())
	}
	return cmd
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
