package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/api"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/sqlitestore"
	"github.com/picket-edr/picket/internal/web"
	"github.com/picket-edr/picket/internal/worker"
	"github.com/picket-edr/picket/rules"
)

// memoryLimit is what the server keeps its heap under where GOMEMLIMIT does
// not say otherwise: the collector works harder before the system must.
const memoryLimit = 400 << 20

// serveFlags are the settings of picket serve.
type serveFlags struct {
	data, listen, queue, store, cache string
	rules                             []string
	workers                           int
	eager, insecure, watchHost        bool
	tlsCert, tlsKey, pprof            string
	maxBody, maxDecoded               int64
	maxEvents, maxEvent, maxConns     int
	queueBytes, storeBytes, minFree   int64
	retention, legacyWait             time.Duration
}

func newServe() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server: intake, queue, workers, store and console in one process",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return serve(cmd, f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.data, "data", "picket-data", "data `DIR`, made if need be")
	fl.StringVar(&f.listen, "listen", "127.0.0.1:8000", "`ADDR` to listen on")
	fl.StringVar(&f.queue, "queue", "sqlite", "where batches wait: sqlite")
	fl.StringVar(&f.store, "store", "sqlite", "where events are kept: sqlite")
	fl.StringVar(&f.cache, "cache", "memory", "where the console's figures are cached: memory")
	fl.StringArrayVar(&f.rules, "rules", []string{"builtin"}, "rules to run: builtin, or a `PATH` of a directory, file or .zip (repeatable)")
	fl.IntVar(&f.workers, "workers", runtime.GOMAXPROCS(0), "`N` workers in this process; 0: intake and console only")
	fl.BoolVar(&f.eager, "eager", false, "detect and store before answering")
	fl.StringVar(&f.tlsCert, "tls-cert", "", "certificate `FILE` to serve TLS with")
	fl.StringVar(&f.tlsKey, "tls-key", "", "key `FILE` of the certificate")
	fl.BoolVar(&f.insecure, "insecure", false, "serve without TLS beyond this machine: tokens and passwords cross the network in the clear")
	fl.StringVar(&f.pprof, "pprof", "", "serve profiles of this process on a loopback `ADDR`, as in 127.0.0.1:6060")
	fl.BoolVar(&f.watchHost, "watch-host", false, "also run an agent that watches this host")
	fl.Int64Var(&f.maxBody, "max-body", 16<<20, "most `BYTES` of a request as sent")
	fl.Int64Var(&f.maxDecoded, "max-decoded", 64<<20, "most `BYTES` of a request decompressed")
	fl.IntVar(&f.maxEvents, "max-events", 10_000, "most events in a request")
	fl.IntVar(&f.maxEvent, "max-event", 1<<20, "most `BYTES` of an event")
	fl.IntVar(&f.maxConns, "max-connections", 4096, "most connections at a time")
	fl.Int64Var(&f.queueBytes, "queue-bytes", 4<<30, "most `BYTES` in the queue; beyond, senders are told to wait")
	fl.Int64Var(&f.storeBytes, "retention-bytes", 0, "delete the oldest events when they take more than `BYTES` on disk; 0: never")
	fl.DurationVar(&f.retention, "retention", 0, "delete events `AGE` after their receipt, as in 720h; 0: never")
	fl.Int64Var(&f.minFree, "min-free-disk", 256<<20, "`BYTES` of disk to leave free; below, senders are told to wait")
	fl.DurationVar(&f.legacyWait, "legacy-wait", time.Minute, "how long an agent of the replaced system is made to wait for room")
	return cmd
}

// makeDataDir makes a data directory that only its owner can read.
func makeDataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	return nil
}

// checkServe refuses settings that would be unsafe, or that do nothing.
func checkServe(f serveFlags) error {
	for name, v := range map[string][2]string{"queue": {f.queue, "sqlite"}, "store": {f.store, "sqlite"}, "cache": {f.cache, "memory"}} {
		if v[0] != v[1] {
			return usagef("--%s %q: this build has %s only", name, v[0], v[1])
		}
	}
	if (f.tlsCert == "") != (f.tlsKey == "") {
		return usagef("--tls-cert and --tls-key go together")
	}
	host, _, err := net.SplitHostPort(f.listen)
	if err != nil {
		return usagef("--listen %q: %w", f.listen, err)
	}
	if f.tlsCert == "" && !f.insecure && !isLoopback(host) {
		return hinted(usagef("--listen %s reaches beyond this machine without TLS", f.listen),
			"give --tls-cert and --tls-key, or --insecure where something in front of picket serves TLS")
	}
	if host, _, err := net.SplitHostPort(f.pprof); f.pprof != "" && (err != nil || !isLoopback(host)) {
		return usagef("--pprof %q is no loopback address; profiles show what is in memory", f.pprof)
	}
	if f.workers < 0 {
		return usagef("--workers %d is below 0", f.workers)
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// A server is the parts of a running picket serve, wired together.
type server struct {
	f     serveFlags
	log   *slog.Logger
	queue *sqlitequeue.Queue
	store *sqlitestore.Store
	rules *detect.Loader
	work  *worker.Worker
	in    *ingest.Handler
	conns *httpapi.Conns
	http  *http.Server
	start time.Time
}

func serve(cmd *cobra.Command, f serveFlags) (err error) {
	if err := checkServe(f); err != nil {
		return err
	}
	log, err := newLog(cmd)
	if err != nil {
		return err
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	if err := makeDataDir(f.data); err != nil {
		return err
	}
	s := &server{f: f, log: log, start: time.Now()}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.open(); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", f.listen)
	if err != nil {
		return hinted(fmt.Errorf("listen: %w", err), "another program has the port; give --listen another, as in 127.0.0.1:8001")
	}
	defer listener.Close()
	scheme := "http"
	if f.tlsCert != "" {
		scheme = "https"
	}
	base := scheme + "://" + listener.Addr().String()
	if err := s.firstUser(cmd, base); err != nil {
		return err
	}
	return s.run(cmd, listener, base)
}

// open opens the engines and makes the parts.
func (s *server) open() (err error) {
	dir, f := dataDir(s.f.data), s.f
	if s.queue, err = sqlitequeue.Open(dir.queue(), sqlitequeue.Options{MaxBytes: f.queueBytes, MinFreeDisk: f.minFree, Logger: s.log}); err != nil {
		return err
	}
	if s.store, err = sqlitestore.Open(dir.events(), sqlitestore.Options{Logger: s.log}); err != nil {
		return err
	}
	sources, err := detect.ParseSources(f.rules, rules.FS)
	if err != nil {
		return err
	}
	if s.rules, err = detect.NewLoader(sources, dir.rulesOff(), s.log); err != nil {
		return err
	}
	s.work = worker.New(s.queue, func() worker.Detector { return s.rules.Engine().Detector() }, s.store,
		worker.Options{Concurrency: max(f.workers, 1), Logger: s.log})

	tokens, sessions := auth.NewTokens(s.store, time.Now), auth.NewSessions(s.store, time.Now)
	var sink ingest.Enqueuer = s.queue
	if f.eager {
		sink = eager{s.queue, s.work}
	}
	s.in = ingest.New(sink, tokens, ingest.Options{
		MaxBody: f.maxBody, MaxDecoded: f.maxDecoded, MaxEvents: f.maxEvents, MaxEvent: f.maxEvent, LegacyWait: f.legacyWait, Log: s.log,
	})
	mux := httpapi.NewMux(s.log)
	s.in.Routes(mux)
	(&api.Server{Store: s.store, Queue: s.queue, Rules: s.rules, Tokens: tokens, Sessions: sessions, Log: s.log, Now: time.Now}).Routes(mux)
	console := &web.Console{Store: s.store, Queue: s.queue, Rules: s.rules, Sessions: sessions, Log: s.log, Now: time.Now,
		Secure: f.tlsCert != "", Version: version}
	console.Routes(mux)
	mux.Handle("/{$}", s.root, httpapi.WriteError)
	s.healthRoutes(mux)
	s.conns = httpapi.NewConns(f.maxConns)
	s.http = &http.Server{
		Handler:           crossOrigin(mux),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 2 * time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10, ConnState: s.conns.State,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	return nil
}

// crossOrigin refuses what another site makes a browser do here: sessions are
// cookies, which the browser would send along.
func crossOrigin(h http.Handler) http.Handler { return http.NewCrossOriginProtection().Handler(h) }

// root is what GET / means: the console to people, Elasticsearch to senders
// that show a token.
func (s *server) root(w http.ResponseWriter, r *http.Request) error {
	if auth.Secret(r) == "" && r.Method == http.MethodGet {
		http.Redirect(w, r, web.Home, http.StatusFound)
		return nil
	}
	if err := s.in.Root(w, r); err != nil {
		ingest.WriteElastic(w, r, err)
	}
	return nil
}

// eager is a queue that is worked off at once: --eager. What can't be is left
// in the queue, for a worker to try again.
type eager struct {
	queue queue.Queue
	work  *worker.Worker
}

func (e eager) Enqueue(ctx context.Context, m queue.Message, rejected ...queue.Letter) error {
	if len(rejected) > 0 {
		// The letters first, so that a failure of either leaves the sender
		// without an answer, and it tries again.
		if err := e.queue.Enqueue(ctx, queue.Message{ID: m.ID + "-rejected"}, rejected...); err != nil {
			return err
		}
	}
	if m.Events == 0 {
		return nil
	}
	return e.work.Handle(ctx, m)
}

// firstUser makes the first administrator and shows the password, this once.
func (s *server) firstUser(cmd *cobra.Command, base string) error {
	ctx := cmd.Context()
	users, err := s.store.Users(ctx)
	if err != nil || len(users) > 0 {
		return err
	}
	password := os.Getenv("PICKET_ADMIN_PASSWORD")
	given := password != ""
	if !given {
		password = auth.NewPassword()
	}
	hash, err := auth.HashPassword(password)
	if err != nil {
		return err
	}
	if err := s.store.PutUser(ctx, store.User{Name: "admin", PasswordHash: hash, Role: auth.RoleAdmin, Created: time.Now().UTC()}); err != nil {
		return err
	}
	if given {
		return nil
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "\n  first start: sign in as admin with password %s\n  (shown once; picket user passwd admin --data %s changes it)\n", password, s.f.data)
	return err
}

// run serves until the context ends, then stops in the order in which a batch
// travels, so that nothing in hand is left behind.
func (s *server) run(cmd *cobra.Command, listener net.Listener, base string) error {
	ctx := cmd.Context()
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	working := make(chan error, 1)
	go func() {
		if s.f.workers == 0 {
			<-work.Done()
			working <- nil
			return
		}
		working <- s.work.Run(work)
	}()
	go s.rules.Watch(ctx, 2*time.Second)
	go s.retain(ctx)
	serving := make(chan error, 1)
	go func() {
		if s.f.tlsCert != "" {
			serving <- s.http.ServeTLS(listener, s.f.tlsCert, s.f.tlsKey)
		} else {
			serving <- s.http.Serve(listener)
		}
	}()
	if s.f.pprof != "" {
		go func() {
			if err := profiles(ctx, s.f.pprof); err != nil {
				s.log.Error("profiles not served", "error", err)
			}
		}()
	}
	fmt.Fprintf(cmd.OutOrStdout(), "\n  console: %s\n", base)
	if s.f.watchHost {
		stop, err := s.watch(cmd, base)
		if err != nil {
			return err
		}
		defer stop()
	}
	var failure error
	select {
	case <-ctx.Done():
		s.log.Info("stopping")
	case err := <-serving:
		failure = fmt.Errorf("serve: %w", err)
	case err := <-working:
		failure = fmt.Errorf("work: %w", err)
		working <- nil
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	if err := s.http.Shutdown(end); err != nil {
		s.http.Close()
	}
	stopWork()
	return errors.Join(failure, <-working)
}

// retain deletes what is past its time, a minute at a time.
func (s *server) retain(ctx context.Context) {
	if s.f.retention == 0 && s.f.storeBytes == 0 {
		return
	}
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		n, err := s.store.Prune(ctx, store.Retention{MaxAge: s.f.retention, MaxBytes: s.f.storeBytes, Now: time.Now()})
		if err != nil && ctx.Err() == nil {
			s.log.Error("old events not deleted", "error", err)
		} else if n > 0 {
			s.log.Info("old events deleted", "events", n)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *server) close() error {
	var errs []error
	if s.queue != nil {
		errs = append(errs, s.queue.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}

// healthRoutes adds what probes and Prometheus ask for.
func (s *server) healthRoutes(mux *httpapi.Mux) {
	mux.Handle("GET /healthz", func(w http.ResponseWriter, r *http.Request) error {
		return httpapi.JSON(w, http.StatusOK, map[string]string{"status": "ok", "version": version})
	}, httpapi.WriteError)
	mux.Handle("GET /readyz", func(w http.ResponseWriter, r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
		defer cancel()
		checks := map[string]string{"queue": "ok", "store": "ok", "rules": "ok"}
		status := http.StatusOK
		fail := func(part string, err error) {
			checks[part], status = err.Error(), http.StatusServiceUnavailable
		}
		if _, err := s.queue.Stats(ctx); err != nil {
			fail("queue", err)
		}
		if _, err := s.store.Totals(ctx); err != nil {
			fail("store", err)
		}
		if s.rules.Engine().Rules().Len() == 0 {
			fail("rules", fmt.Errorf("no rule is loaded: %w", picket.ErrUnavailable))
		}
		return httpapi.JSON(w, status, checks)
	}, httpapi.WriteError)
	mux.Handle("GET /metrics", s.metrics, httpapi.WriteError)
}

// profiles serves net/http/pprof until ctx ends.
func profiles(ctx context.Context, addr string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	srv := &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { srv.Close() })
	if err := srv.ListenAndServe(); ctx.Err() == nil {
		return err
	}
	return nil
}

// localURL is the base URL to reach a server on this machine by.
func localURL(base string) string {
	return strings.Replace(strings.Replace(base, "0.0.0.0", "127.0.0.1", 1), "[::]", "127.0.0.1", 1)
}
