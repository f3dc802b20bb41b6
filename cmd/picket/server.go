package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/api"
	"github.com/picket-edr/picket/internal/audit"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/cache"
	"github.com/picket-edr/picket/internal/cache/rediscache"
	"github.com/picket-edr/picket/internal/correlate"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/ingest"
	"github.com/picket-edr/picket/internal/legacy"
	"github.com/picket-edr/picket/internal/redisurl"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/sqlitefile"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/triage"
	"github.com/picket-edr/picket/internal/web"
	"github.com/picket-edr/picket/internal/worker"
)

// A server holds the parts of a running picket serve.
type server struct {
	cmd          *cobra.Command
	f            serveFlags
	log          *slog.Logger
	queue        *openedQueue
	leftovers    []leftoverQueue
	store        store.Store
	rules        *ruleset.Loader
	worker       *worker.Worker
	correlations *correlate.Runner
	// cacheConn is the connection to a remote cache; nil with the cache in memory.
	cacheConn   io.Closer
	intake      *ingest.Handler
	legacyQueue *legacy.BlockingQueue
	tokens      *auth.TokenVerifier
	connLimiter *httpapi.ConnLimiter
	http        *http.Server
	start       time.Time
	metrics     *metrics
	audit       *audit.Recorder
}

// openParts opens the queue, the store and the cache, and wires the parts.
func (s *server) openParts() (err error) {
	dir, f := dataDir(s.f.data), s.f
	if s.store, err = f.storeLocation().open(s.cmd.Context(), s.log, false); err != nil {
		return err
	}
	idSecret, err := s.store.Secret(s.cmd.Context(), store.EventIDSecret)
	if err != nil {
		return err
	}
	if s.queue, err = openQueue(s.cmd.Context(), f.queue, dir, queueOptions{
		maxBytes: f.queueBytes, minFree: f.minFree, durability: f.redisDurability, bufferBytes: f.spillBytes, idSecret: idSecret, checkFile: true, log: s.log,
	}); err != nil {
		return err
	}
	if err := s.openLeftovers(dir); err != nil {
		return err
	}
	if s.rules, err = loadEngineRules(s.cmd.Context(), s.store, dir, f.rules, *f.pipelines, s.log); err != nil {
		return err
	}
	if *f.trim {
		s.rules.Engine().TrimWindowsValues()
	}
	if f.storeLocation().isRemote() && !usesPublishedRules(f.rules) {
		if err := s.rules.StartPublishingTo(s.cmd.Context(), s.store); err != nil {
			return err
		}
	}
	s.worker = worker.New(s.queue, func() worker.Detector { return s.rules.Engine().NewDetector() }, s.store,
		worker.Options{Concurrency: max(f.workers, 1), DrainTimeout: drainTimeout, Results: s.queue.resultReporter(), Logger: s.log,
			ObserveQueueWait: durationObserver(s.metrics.queueWait), ObserveDetection: durationObserver(s.metrics.detection), ObserveSaving: durationObserver(s.metrics.saving)})

	s.correlations = correlate.New(s.rules.Engine(), s.store, processID(), s.log, time.Now)

	tokens, sessions := auth.NewTokenVerifier(s.store, time.Now), auth.NewSessions(s.store, time.Now)
	tokens.Grace, tokens.Log, s.tokens = f.tokenGrace, s.log, tokens
	var sink ingest.Enqueuer = s.queue
	if f.eager {
		sink = eagerQueue{s.queue, s.worker, s.log}
	}
	s.legacyQueue = legacy.NewBlockingQueue(sink, f.legacyWait, s.log)
	s.intake = ingest.New(s.legacyQueue, tokens, ingest.Options{
		MaxBodyBytes: f.maxBody, MaxDecodedBytes: f.maxDecoded, MaxEvents: f.maxEvents, MaxEventBytes: f.maxEvent, IDSecret: idSecret, Log: s.log,
		ObserveRequest: durationObserver(s.metrics.intake),
		Validator:      legacy.Validator{}, WriteError: legacy.WriteTelemetryError, WrapTelemetry: s.legacyQueue.HideFullQueue,
	})
	mux := httpapi.NewMux(s.log)
	mux.WriteRefusal = legacy.WriteUnroutedError
	s.intake.Routes(mux)
	(&legacy.NoCommandsHandler{Tokens: tokens}).Routes(mux)
	statistics, err := s.openCache()
	if err != nil {
		return err
	}
	shown := cache.NewCachedStore(s.store, statistics)
	s.audit = audit.NewRecorder(s.store, s.log, time.Now)
	reads := httpapi.NewReadLimiter(f.searchTimeout)
	decisions := &triage.Service{Alerts: shown, Users: s.store, DeadLetters: s.queue, Rules: s.rules, Audit: s.audit, Now: time.Now}
	(&api.Server{Reads: reads, Store: shown, Queue: s.queue, Rules: s.rules, Triage: decisions, Tokens: tokens, Sessions: sessions, Now: time.Now}).Routes(mux)
	(&legacy.Dashboard{Reads: reads, Store: shown, Rules: s.rules, Triage: decisions, Tokens: tokens, Sessions: sessions, Now: time.Now}).Routes(mux)
	console := &web.Console{Reads: reads, Store: shown, Queue: s.queue, Rules: s.rules, Triage: decisions, Audit: s.audit, Sessions: sessions,
		Now: time.Now, Version: version,
		Dropped: func() (legacy, agents int64) { return s.legacyQueue.DroppedEvents(), s.intake.AgentDroppedEvents() }}
	console.Routes(mux)
	mux.Handle("/{$}", s.serveRoot, httpapi.WriteError)
	s.addHealthRoutes(mux)
	s.connLimiter = httpapi.NewConnLimiter(f.maxConns)
	s.http = &http.Server{
		Handler:           httpapi.TrustProxies(httpapi.StrictTransport(crossOrigin(mux)), f.trustedProxies),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 2 * time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
		// A window of 128 KiB suffices for 10 Mbit/s at 100 ms. What a client
		// sends before a handler reads it takes memory.
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: 64, MaxReceiveBufferPerConnection: 256 << 10, MaxReceiveBufferPerStream: 128 << 10},
		ErrorLog: newHTTPErrorLog(s.log, time.Now),
	}
	s.connLimiter.Install(s.http)
	return nil
}

// openCache opens the cache of the console's statistics.
func (s *server) openCache() (cache.Cache, error) {
	if s.f.cache == "memory" {
		return cache.NewMemory(time.Now), nil
	}
	place, err := redisurl.Parse(s.f.cache)
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	// Servers with different stores may share a Redis: the key names the store.
	of := sha256.Sum256([]byte(s.f.store))
	c := rediscache.New(place.NewClient(), fmt.Sprintf("%s:figures:%x:", place.Prefix, of[:8]), s.log)
	s.cacheConn = c
	return c, nil
}

// shutdownTimeout and drainTimeout bound how long a stopping server continues
// with open requests and with leased batches. Together they are less than the 15
// seconds that a stop may take.
const (
	shutdownTimeout = 5 * time.Second
	drainTimeout    = 8 * time.Second
)

// run serves until the context ends. It stops the parts in the order in which a
// batch passes through them, so that each finishes what it has accepted.
func (s *server) run(listener net.Listener, base string) (err error) {
	ctx, cancel := context.WithCancel(s.cmd.Context())
	var beside sync.WaitGroup // goroutines that use the store
	defer beside.Wait()
	defer cancel()
	beside.Go(func() { s.rules.Watch(ctx, time.Second) })
	beside.Go(func() { s.runRetention(ctx) })
	beside.Go(func() { s.audit.Run(ctx) })
	beside.Go(func() { s.runAuditRetention(ctx) })
	beside.Go(func() { s.correlations.Run(ctx) })
	beside.Go(func() { s.moveLeftovers(ctx) })
	if s.f.workers > 0 {
		beside.Go(func() { s.worker.SendHeartbeats(ctx, s.store, newWorkerInfo(), s.rules.Revision) })
	}

	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	// The Celery node outlives the drain, to report its results. A remote
	// shutdown command stops the workers; the server continues.
	node, leave := context.WithCancel(context.WithoutCancel(ctx))
	defer leave()
	if s.f.workers > 0 {
		run := s.queue.newCeleryNode(s.worker, stopWork, s.log)
		beside.Go(func() { run(node) })
	}
	working := make(chan error, 1)
	go func() {
		defer leave()
		working <- s.runWorkers(work)
	}()
	defer func() {
		stopWork()
		err = errors.Join(err, <-working)
	}()
	serving := make(chan error, 1)
	go func() { serving <- s.listen(listener) }()
	defer s.stopListening(context.WithoutCancel(ctx))
	if s.f.pprof != "" {
		beside.Go(func() {
			if err := servePprof(ctx, s.f.pprof); err != nil {
				s.log.Error("serving profiles failed", "error", err)
			}
		})
	}
	fprintfPrintable(s.cmd.OutOrStdout(), "\n  console: %s\n", browsableURL(base))
	if s.f.watchHost {
		stop, err := s.watchHost(ctx, base)
		if err != nil {
			return err
		}
		defer stop()
	}
	select {
	case <-ctx.Done():
		s.log.Info("server stopping")
		return nil
	case err := <-serving:
		return fmt.Errorf("serve: %w", err)
	}
}

// runWorkers runs the workers of this process, if it has any, until ctx ends.
func (s *server) runWorkers(ctx context.Context) error {
	if s.f.workers == 0 && !s.f.eager {
		return nil
	}
	return s.worker.Run(ctx)
}

func (s *server) listen(l net.Listener) error {
	if s.f.tlsCert != "" {
		return s.http.ServeTLS(l, s.f.tlsCert, s.f.tlsKey)
	}
	return s.http.Serve(l)
}

// stopListening answers open requests within shutdownTimeout and closes the rest.
func (s *server) stopListening(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, shutdownTimeout)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		s.http.Close()
	}
}

// runRetention deletes what is past its retention once a minute.
func (s *server) runRetention(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		n, err := s.store.PruneEvents(ctx, store.Retention{MaxAge: s.f.retention, MaxBytes: s.f.storeBytes, Now: time.Now()})
		if n > 0 {
			s.log.Info("retention: old events deleted", "events", n)
		}
		if s.f.alertRetention > 0 && err == nil {
			n, err = s.store.PruneAlerts(ctx, time.Now().Add(-s.f.alertRetention))
			if n > 0 {
				s.log.Info("retention: closed alerts deleted", "alerts", n)
			}
		}
		if err != nil && ctx.Err() == nil {
			s.log.Error("retention failed", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// maxKeptAuditEntries bounds the audit log.
const maxKeptAuditEntries = 1_000_000

// runAuditRetention deletes old entries of the audit log once an hour.
func (s *server) runAuditRetention(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		before := time.Time{}
		if s.f.auditRetention > 0 {
			before = time.Now().Add(-s.f.auditRetention)
		}
		n, err := s.store.PruneAudit(ctx, before, maxKeptAuditEntries)
		if err != nil && ctx.Err() == nil {
			s.log.Error("pruning audit log failed", "error", err)
		} else if n > 0 {
			s.audit.Record(ctx, auth.Identity{Kind: "server", Subject: processID()}, "audit.prune", "audit log", fmt.Sprintf("%d entries", n))
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
	if s.cacheConn != nil {
		errs = append(errs, s.cacheConn.Close())
	}
	for _, l := range s.leftovers {
		errs = append(errs, l.queue.Close())
	}
	if s.queue != nil {
		errs = append(errs, s.queue.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}

// diskFullHint is the hint about a disk without room for what opening a file needs.
const diskFullHint = "free some MiB on the disk of the data directory; picket serve then starts, and --retention or --retention-bytes has it delete old events"

// withFileHint adds a hint to an error of opening a file of the data directory.
func withFileHint(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return withHint(err, dataPermissionHint)
	case isDamage(err):
		return withHint(err, repairHint)
	case sqlitefile.IsDiskFull(err):
		return withHint(err, diskFullHint)
	}
	return err
}
