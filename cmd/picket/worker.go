package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/detect"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/worker"
)

func newWorker() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker --data DIR",
		Short: "Run workers in a process of their own, beside a server on the same machine",
		Long: `Runs workers in a process of their own, on the data directory of a server on the
same machine: picket serve --workers 0 takes telemetry and shows alerts, and any
number of picket worker beside it detect. kill -9 of one loses nothing: what it
had in hand goes to another.`,
		Args: cobra.NoArgs,
	}
	data := addDataFlag(cmd)
	names := cmd.Flags().StringArray("rules", []string{"builtin"}, "rules to run: builtin, or a `PATH` (repeatable)")
	concurrency := cmd.Flags().Int("concurrency", runtime.GOMAXPROCS(0), "`N` batches at a time")
	queueName := cmd.Flags().String("queue", "sqlite", "`ENGINE` of the queue: sqlite")
	storeName := cmd.Flags().String("store", "sqlite", storeUsage)
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if *queueName != "sqlite" {
			return usagef("--queue %q: this build has sqlite only", *queueName)
		}
		if *concurrency < 1 {
			return usagef("--concurrency %d is below 1", *concurrency)
		}
		log, err := newLog(cmd)
		if err != nil {
			return err
		}
		at := &storePlace{*data, *storeName}
		dir, err := at.dir()
		if err != nil {
			return err
		}
		q, err := sqlitequeue.Open(dir.queue(), sqlitequeue.Options{Logger: log})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, q.Close()) }()
		s, err := at.open(cmd.Context(), log, false)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		sources, err := sourcesInForce(dir, *names)
		if err != nil {
			return err
		}
		loader, err := detect.NewLoader(sources, dir.rulesOff(), log)
		if err != nil {
			return err
		}
		go loader.Watch(cmd.Context(), time.Second)
		w := worker.New(q, func() worker.Detector { return loader.Engine().Detector() }, s,
			worker.Options{Concurrency: *concurrency, DrainTimeout: drainTimeout, Logger: log})
		var beside sync.WaitGroup
		defer beside.Wait()
		beside.Go(func() {
			detect.NewFollower(loader.Engine(), s, holder(), log, time.Now).Run(cmd.Context())
		})
		log.Info("working", "data", dir, "concurrency", *concurrency)
		return w.Run(cmd.Context())
	}
	return cmd
}

// holder names this process among those that share a store.
func holder() string {
	name, _ := os.Hostname()
	return fmt.Sprintf("%s/%d/%s", name, os.Getpid(), rand.Text())
}
