package worker

import (
	"sync/atomic"
	"time"
)

// metrics count since New.
type metrics struct {
	batches, events, duplicates, conflicting, matches, alerts, failed, retries atomic.Int64
	detectTime, saveTime                                                       atomic.Int64 // nanoseconds
}

// A MetricsSnapshot has a worker's counters since New. Events counts new events, Conflicting
// the Duplicates with other content than what is stored, Failed the events that became
// dead letters, and Retries the messages that were returned to the queue because the
// store was unavailable. Times are sums over all goroutines.
type MetricsSnapshot struct {
	Batches, Events, Duplicates, Conflicting, Matches, Alerts, Failed, Retries int64
	DetectTime, SaveTime                                                       time.Duration
}

// Metrics reads the counters.
func (w *Worker) Metrics() MetricsSnapshot {
	m := &w.metrics
	return MetricsSnapshot{
		Batches: m.batches.Load(), Events: m.events.Load(), Duplicates: m.duplicates.Load(), Conflicting: m.conflicting.Load(), Matches: m.matches.Load(),
		Alerts: m.alerts.Load(), Failed: m.failed.Load(), Retries: m.retries.Load(),
		DetectTime: time.Duration(m.detectTime.Load()), SaveTime: time.Duration(m.saveTime.Load()),
	}
}

// startSummaryLog logs periodically how much was processed. The function that it
// returns ends that, after a last summary.
func (w *Worker) startSummaryLog() (stop func()) {
	last := w.Metrics()
	logged := time.Now()
	summarize := func() {
		m, now := w.Metrics(), time.Now()
		// The counters are read one by one, so those of a batch may differ in another summary.
		if m.Batches != last.Batches || m.Events != last.Events || m.Duplicates != last.Duplicates || m.Matches != last.Matches || m.Failed != last.Failed {
			w.log.Info("batches processed", "batches", m.Batches-last.Batches, "events", m.Events-last.Events,
				"duplicates", m.Duplicates-last.Duplicates, "matches", m.Matches-last.Matches,
				"dead", m.Failed-last.Failed, "conflicting", m.Conflicting-last.Conflicting, "interval", now.Sub(logged).Round(time.Millisecond))
		}
		last, logged = m, now
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(w.opt.SummaryInterval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				summarize()
			case <-end:
				summarize()
				return
			}
		}
	}()
	return func() { close(end); <-ended }
}
