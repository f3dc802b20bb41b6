package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/correlate"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/worker"
)

func newWorker() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Run workers in a separate process, beside a server or on another machine",
		Long: `Runs workers in a separate process: on the data directory of a server on the same
machine, or on any machine with a remote queue and store. picket serve
--workers 0 then receives telemetry and shows alerts, and any number of picket
worker processes detect. On a Celery broker it replaces celery worker. kill -9
loses nothing: the batches of a killed worker are delivered to another.`,
		Example: `  picket worker --data /var/lib/picket
  picket worker --queue redis://redis:6379/0 --store mongodb://mongo:27017/picket
  picket worker --queue celery+redis://redis:6379/0 --data picket-data`,
		Args: cobra.NoArgs,
	}
	data := addDataFlag(cmd)
	names := cmd.Flags().StringArray("rules", nil, "rules to run: builtin, a `PATH` (repeatable), or store: those that a server publishes (default builtin, or store where that is on another machine)")
	pipelines, trim := addPipelineFlag(cmd), addTrimFlag(cmd)
	concurrency := cmd.Flags().Int("concurrency", runtime.GOMAXPROCS(0), "number `N` of batches to process at a time")
	queueURL := addQueueFlag(cmd)
	storeName := cmd.Flags().String("store", "sqlite", storeUsage)
	maxNewAlerts := cmd.Flags().Int("max-new-alerts", store.DefaultMaxNewAlerts, maxNewAlertsUsage)
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		setDefaultMemoryLimit()
		backend, err := findQueueBackend(*queueURL, "reply")
		if err != nil {
			return err
		}
		if *concurrency < 1 {
			return usagef("--concurrency %d is below 1", *concurrency)
		}
		log, err := newLog(cmd)
		if err != nil {
			return err
		}
		location := storeLocation{data: *data, name: *storeName, maxNewAlerts: *maxNewAlerts}
		dir, err := findOrCreateWorkerDataDir(location, backend)
		if err != nil {
			return err
		}
		s, err := location.open(cmd.Context(), log, false)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		idSecret, err := s.Secret(cmd.Context(), store.EventIDSecret)
		if err != nil {
			return err
		}
		q, err := openQueue(cmd.Context(), *queueURL, dir, queueOptions{durability: "reply", lazy: true, idSecret: idSecret, log: log})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, q.Close()) }()
		if len(*names) == 0 {
			*names = []string{"builtin"}
			if location.isRemote() {
				*names = []string{"store"}
			}
		}
		loader, err := loadEngineRules(cmd.Context(), s, dir, *names, *pipelines, log)
		if err != nil {
			return err
		}
		if *trim {
			loader.Engine().TrimWindowsValues()
		}
		ctx, stop := context.WithCancel(cmd.Context())
		defer stop()
		go loader.Watch(ctx, time.Second)
		w := worker.New(q, func() worker.Detector { return loader.Engine().NewDetector() }, s,
			worker.Options{Concurrency: *concurrency, DrainTimeout: drainTimeout, Results: q.resultReporter(), Logger: log})
		var beside sync.WaitGroup
		defer beside.Wait()
		beside.Go(func() {
			correlate.New(loader.Engine(), s, processID(), log, time.Now).Run(ctx)
		})
		beside.Go(func() { w.SendHeartbeats(ctx, s, newWorkerInfo(), loader.Revision) })
		node, leave := context.WithCancel(context.WithoutCancel(ctx)) // outlives the drain, to report its results
		defer leave()
		run := q.newCeleryNode(w, stop, log)
		beside.Go(func() { run(node) })
		log.Info("worker started", "data", dir, "concurrency", *concurrency)
		return w.Run(ctx)
	}
	return cmd
}

// findOrCreateWorkerDataDir returns the data directory of a worker. With a remote queue
// and a local store, the worker may start before any server and creates it.
func findOrCreateWorkerDataDir(location storeLocation, queue *queueBackend) (dataDir, error) {
	store, err := location.backend()
	if err != nil {
		return "", err
	}
	if queue.local || !store.local {
		return location.existingDir()
	}
	return dataDir(location.data), makeDataDir(location.data)
}

// usesPublishedRules reports whether --rules names the rules that a server
// publishes in the store.
func usesPublishedRules(names []string) bool { return len(names) == 1 && names[0] == "store" }

// loadEngineRules loads the rules that --rules names, with the pipelines that
// --pipeline names, into an engine of this process.
func loadEngineRules(ctx context.Context, publishedRules store.Coordination, dir dataDir, names, pipelines []string, log *slog.Logger) (*ruleset.Loader, error) {
	if usesPublishedRules(names) {
		if len(pipelines) > 0 {
			return nil, usagef("--pipeline goes with rules of this machine, not with --rules store")
		}
		return ruleset.NewPublishedLoader(ctx, publishedRules, log)
	}
	sources, err := serverRuleSources(dir, names, pipelines...)
	if err != nil {
		return nil, err
	}
	return ruleset.NewLoader(sources, dir.disabledRulesFile(), log)
}

// processID identifies this process among all that share a store.
var processID = sync.OnceValue(func() string {
	name, _ := os.Hostname()
	return fmt.Sprintf("%s/%d/%s", name, os.Getpid(), rand.Text())
})

// newWorkerInfo describes the workers of this process in heartbeats.
func newWorkerInfo() store.Worker {
	name, _ := os.Hostname()
	return store.Worker{ID: processID(), Host: name, Version: version}
}
