package main

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/agent"
	"github.com/picket-edr/picket/internal/doctor"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
)

// doctorFlags are the settings of picket doctor.
type doctorFlags struct {
	store          *storeLocation
	queue, cache   string
	listen, server string
	token          tokenFlags
	caFile         string
	rules          []string
	json           bool
}

func newDoctor() *cobra.Command {
	var f doctorFlags
	cmd := &cobra.Command{Use: "doctor", Short: "Check ports, disk, clock, queue, store, cache, rules and token; say what to do", Args: cobra.NoArgs}
	f.store = addStoreFlags(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.listen, "listen", "127.0.0.1:8000", "the server's `ADDR`")
	fl.StringVar(&f.queue, "queue", "sqlite", queueUsage)
	fl.StringVar(&f.cache, "cache", "memory", cacheUsage)
	fl.StringVar(&f.server, "server", "", "the server's `URL`; default: http:// and --listen")
	addTokenFlags(cmd, &f.token, "an agent's or collector's `TOKEN` to test")
	fl.StringVar(&f.caFile, "ca-file", "", "PEM `FILE` with the CA certificates of the server")
	fl.StringArrayVar(&f.rules, "rules", []string{"builtin"}, "rules to check: builtin, or a `PATH` (repeatable)")
	fl.BoolVar(&f.json, "json", false, "print JSON, one check per line")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, err := runChecks(cmd, f)
		if err != nil {
			return err
		}
		if err := printFindings(cmd.OutOrStdout(), r.Findings, f.json); err != nil {
			return err
		}
		if !r.Healthy() {
			return errSilent
		}
		return nil
	}
	return cmd
}

// runChecks runs all checks.
func runChecks(cmd *cobra.Command, f doctorFlags) (*doctor.Report, error) {
	queue, err := findQueueBackend(f.queue, "reply")
	if err != nil {
		return nil, err
	}
	store, err := f.store.backend()
	if err := errors.Join(err, checkCache(f.cache)); err != nil {
		return nil, err
	}
	token, err := f.token.optionalToken()
	if err != nil {
		return nil, err
	}
	transport, err := agent.NewTransport(f.caFile)
	if err != nil {
		return nil, err
	}
	ctx, dir, r := cmd.Context(), dataDir(f.store.data), new(doctor.Report)
	doctor.CheckDisk(r, f.store.data, queue.local || store.local, sqlitequeue.FreeDiskBytes)
	queue.diagnose(ctx, r, f.queue, dir)
	store.diagnose(ctx, r, *f.store)
	if f.cache != "memory" {
		doctor.CheckRedisCache(ctx, r, f.cache)
	}
	if sources, err := serverRuleSources(dir, f.rules); err != nil {
		doctor.ReportUnreadableRules(r, err)
	} else {
		doctor.CheckRules(r, sources)
	}
	if f.server == "" {
		f.server = "http://" + f.listen
	}
	s := doctor.Server{Listen: f.listen, URL: f.server, Token: token, Client: &http.Client{Transport: transport, Timeout: 5 * time.Second}}
	s.Check(ctx, r)
	return r, nil
}

// printFindings prints a line a finding, and one for its hint.
func printFindings(w io.Writer, findings []doctor.Finding, asJSON bool) error {
	for _, f := range findings {
		if asJSON {
			if err := printJSONLine(w, f); err != nil {
				return err
			}
			continue
		}
		state := "ok  "
		if !f.OK {
			state = "FAIL"
		}
		fprintfPrintable(w, "%s  %-6s %s\n", state, f.Check, f.Text)
		if f.Hint != "" {
			fprintfPrintable(w, "             hint: %s\n", f.Hint)
		}
	}
	return nil
}
