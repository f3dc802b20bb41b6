package worker

import (
	"sync/atomic"
	"time"
)

// metrics count since New.
type metrics struct {
	batches, events, duplicates, matches, alerts, failed, retries atomic.Int64
	detectTime, saveTime                                          atomic.Int64 // nanoseconds
}

// A Snapshot is a worker's counters since New. Events are new to the store;
// Failed became dead letters; Retries are messages that came again because
// the store was away. The times are sums over all goroutines.
type Snapshot struct {
	Batches, Events, Duplicates, Matches, Alerts, Failed, Retries int64
	DetectTime, SaveTime                                          time.Duration
}

// Metrics reads the counters.
func (w *Worker) Metrics() Snapshot {
	m := &w.metrics
	return Snapshot{
		Batches: m.batches.Load(), Events: m.events.Load(), Duplicates: m.duplicates.Load(), Matches: m.matches.Load(),
		Alerts: m.alerts.Load(), Failed: m.failed.Load(), Retries: m.retries.Load(),
		DetectTime: time.Duration(m.detectTime.Load()), SaveTime: time.Duration(m.saveTime.Load()),
	}
}
