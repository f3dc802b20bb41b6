package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/agent"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/scan"
	"github.com/picket-edr/picket/internal/store"
)

// agentFlags are the flags of picket agent.
type agentFlags struct {
	server, spool, caFile, id string
	token                     tokenOrFileFlags
	sources                   []string
	spoolBytes                int64
	insecure                  bool
	speed                     float64
	loops                     int
}

const defaultSpoolDir = "picket-spool"

func newAgent() *cobra.Command {
	var f agentFlags
	cmd := &cobra.Command{
		Use:   "agent --server URL --token T | --token-file F [--source NAME]...",
		Short: "Watch this host and send its events to a server",
		Long: `Reads events from sources, keeps them in a spool on disk until the server has
acknowledged them, and sends them in order. After a restart, each source continues
where it stopped.

Sources:
  process        programs that start and end on this host (Linux)
  file=PATH      lines that are appended to text logs, such as file=/var/log/auth.log or
                 'file=/var/log/*.log': from now on, and through rotation
  replay=FILE    the events of a file, as a test or to send them later`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runAgent(cmd, f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.server, "server", "http://127.0.0.1:8000", "the server's `URL`")
	addTokenOrFileFlags(cmd, &f.token, "the agent's `TOKEN`, from picket token create --agent")
	fl.StringArrayVar(&f.sources, "source", []string{"process"}, "`NAME` of a source: process, file=PATH or replay=FILE (repeatable)")
	fl.StringVar(&f.spool, "spool", defaultSpoolDir, "`DIR` of the spool, created if it does not exist")
	fl.Int64Var(&f.spoolBytes, "spool-bytes", 1<<30, "maximum `BYTES` in the spool; when it is full, the newest events are dropped and counted")
	fl.StringVar(&f.caFile, "ca-file", "", "PEM `FILE` with the CA certificates of the server")
	fl.BoolVar(&f.insecure, "insecure", false, "allow sending the token to another machine over plain HTTP")
	fl.StringVar(&f.id, "agent-id", "", "this agent's `ID`, the same as in its token; default: the host's name")
	fl.Float64Var(&f.speed, "replay-speed", 0, "`PACE` of a replay: 1 as it happened, 0 as fast as possible")
	fl.IntVar(&f.loops, "replay-loops", 1, "replay `N` times; negative: forever")
	cmd.AddCommand(newAgentSpool())
	return cmd
}

func runAgent(cmd *cobra.Command, f agentFlags) error {
	token, err := f.token.optionalToken()
	if err != nil {
		return err
	}
	if token == "" {
		return withHint(usagef("run agent: --token or --token-file is needed"), "picket token create --agent NAME, on the server")
	}
	if f.spoolBytes <= 0 {
		return usagef("--spool-bytes %d is not above 0", f.spoolBytes)
	}
	log, err := newLog(cmd)
	if err != nil {
		return err
	}
	if others, err := f.token.fileIsReadableByOthers(); err == nil && others {
		log.Warn("every user of this host can read the token", "file", f.token.file, "hint", "chmod 600, and create another token")
	}
	return startAgent(cmd.Context(), f, token, log)
}

// startAgent runs an agent until ctx or all of its sources end.
func startAgent(ctx context.Context, f agentFlags, token string, log *slog.Logger) (err error) {
	inputs, err := newAgentInputs(f, log)
	if err != nil {
		return err
	}
	client, err := agent.NewClient(agent.ClientOptions{Server: f.server, Token: token, CAFile: f.caFile, Insecure: f.insecure, Version: version})
	if errors.Is(err, agent.ErrPlainHTTP) {
		return withHint(err, "give an https:// --server, or --insecure where the network is trusted")
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(f.spool, 0o700); err != nil {
		return fmt.Errorf("make spool: %w", err)
	}
	lock, err := agent.LockSpool(f.spool)
	if errors.Is(err, agent.ErrSpoolInUse) {
		return withHint(err, "give each agent a --spool of its own")
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	id := f.agentID()
	log = log.With("agent", id)
	log.Info("agent started", "server", f.server, "sources", strings.Join(f.sources, ","), "spool", f.spool, "version", version)
	o := agent.Options{Client: client, Inputs: inputs, Logger: log, Checkpoints: agent.NewCheckpointFile(filepath.Join(f.spool, "checkpoints.json"))}
	if f.eventsNameAgent() {
		o.AgentID = id
	}
	err = runWithSpool(ctx, f, o)
	if wrong, ok := errors.AsType[*agent.WrongAgentError](err); ok {
		return withHint(fmt.Errorf("run agent: %w", err), fmt.Sprintf("give --agent-id %s, or the token that picket token create --agent %s prints on the server", wrong.TokenAgentID, wrong.AgentID))
	}
	if _, ok := errors.AsType[*agent.IncompleteError](err); ok {
		return fmt.Errorf("run agent: %w", err)
	}
	return err
}

// agentID returns the agent's ID: by default the host's name.
func (f *agentFlags) agentID() string {
	if f.id != "" {
		return f.id
	}
	host, _ := os.Hostname() // the process source reports an error
	return host
}

// eventsNameAgent reports whether the agent's events name the agent. Those of a replay
// name whatever is in its file.
func (f *agentFlags) eventsNameAgent() bool {
	return f.id != "" || slices.Contains(f.sources, "process")
}

// newAgentInputs returns the inputs that --source names.
func newAgentInputs(f agentFlags, log *slog.Logger) ([]agent.Input, error) {
	var inputs []agent.Input
	for i, name := range f.sources {
		if slices.Contains(f.sources[:i], name) {
			return nil, usagef("--source %q is given twice", name)
		}
		kind, arg, _ := strings.Cut(name, "=")
		switch {
		case kind == "process" && arg == "":
			inputs = append(inputs, agent.Input{Name: name, Source: &agent.ProcessSource{AgentID: f.id, Report: reportTo(log, name)}})
		case kind == "replay" && arg != "":
			if _, err := os.Stat(arg); err != nil {
				return nil, fmt.Errorf("replay: %w", err)
			}
			inputs = append(inputs, agent.Input{Name: name, Lossless: true, Source: &agent.ReplaySource{Path: arg, ReadFile: scan.ReadFile, Speed: f.speed, Loops: f.loops}})
		case kind == "file" && arg != "":
			if _, err := filepath.Match(arg, ""); err != nil {
				return nil, usagef("--source %q: %w", name, err)
			}
			inputs = append(inputs, agent.Input{Name: name, Lossless: true, Source: &agent.FileSource{Pattern: arg, Report: reportTo(log, name)}})
		default:
			return nil, usagef("--source %q is neither process, file=PATH nor replay=FILE", name)
		}
	}
	return inputs, nil
}

// reportTo returns a function that logs what a source cannot see.
func reportTo(log *slog.Logger, source string) func(message, hint string) {
	return func(message, hint string) { log.Warn(message, "source", source, "hint", hint) }
}

// watchHost runs an agent in the server's process. It posts to the server like any
// other, with a token created for it. stop stops it.
func (s *server) watchHost(ctx context.Context, base string) (stop func(), err error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("watch this host: %w", err)
	}
	if runtime.GOOS != "linux" {
		return nil, withHint(fmt.Errorf("watch this host: the process source is there for Linux only"), "leave out --watch-host")
	}
	t, secret, err := auth.NewToken(auth.KindAgent, host, "", time.Now())
	if err != nil {
		return nil, err
	}
	if err := s.replaceWatchToken(ctx, t); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f := agentFlags{server: localURL(base), sources: []string{"process"}, spool: filepath.Join(s.f.data, "spool"),
			spoolBytes: 256 << 20, id: host, insecure: s.f.insecure, caFile: s.f.tlsCert}
		if err := startAgent(ctx, f, secret, s.log); err != nil && ctx.Err() == nil {
			s.log.Error("the agent on this host stopped", "error", err)
		}
	}()
	fprintfPrintable(s.cmd.OutOrStdout(), "  this host is watched as %s; to see a first alert, run\n\n      sh -c 'sleep 3; : picket-first-alert'\n\n  and open %s/console/alerts\n\n", host, browsableURL(base))
	return func() { cancel(); <-done }, nil
}

// replaceWatchToken stores the token of this host's agent and revokes the token of
// the previous run, whose id is in a file of the data directory.
func (s *server) replaceWatchToken(ctx context.Context, t store.Token) error {
	path := filepath.Join(s.f.data, "watch-token")
	if id, err := os.ReadFile(path); err == nil {
		if err := s.store.RevokeToken(ctx, string(id), time.Now()); err != nil && !errors.Is(err, picket.ErrNotFound) {
			return err
		}
	}
	if err := s.store.AddToken(ctx, t); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(t.ID), 0o600)
}
