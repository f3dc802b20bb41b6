package main

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/picket-edr/picket/internal/api"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/store"
)

// metrics are what GET /metrics exposes. The answer names no agent, rule or
// host, because scrapers have no credentials.
type metrics struct {
	// Histograms of the time in seconds that each stage took.
	intake, queueWait, detection, saving prometheus.Histogram

	process *prometheus.Registry // what the process itself counts
}

func newMetrics() *metrics {
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	}
	short, long := prometheus.ExponentialBuckets(0.0005, 2, 15), prometheus.ExponentialBuckets(0.001, 3, 13)
	m := &metrics{
		intake:    histogram("picket_intake_duration_seconds", "Time from the start of a telemetry request to its answer.", short),
		queueWait: histogram("picket_queue_wait_seconds", "Time from the enqueueing of a batch to its delivery to a worker of this process.", long),
		detection: histogram("picket_detect_duration_seconds", "Time that one run of the rules over a group of events took.", short),
		saving:    histogram("picket_save_duration_seconds", "Time that one save of a group of batches took.", short),
		process:   prometheus.NewRegistry(),
	}
	// The collectors count go_goroutines, go_memstats_heap_alloc_bytes,
	// go_memstats_sys_bytes and much more.
	m.process.MustRegister(m.intake, m.queueWait, m.detection, m.saving,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// durationObserver returns a function that records durations in a histogram.
func durationObserver(h prometheus.Histogram) func(time.Duration) {
	return func(d time.Duration) { h.Observe(d.Seconds()) }
}

// A metricsData is what the queue and the store count at one time.
type metricsData struct {
	queue         queue.Stats
	totals        store.Totals
	alerts        store.AlertCounts
	hosts, online int64
}

func (s *server) metricsSnapshot(ctx context.Context) (snap metricsData, err error) {
	if snap.queue, err = s.queue.Stats(ctx); err != nil {
		return snap, err
	}
	if snap.totals, err = s.store.Totals(ctx); err != nil {
		return snap, err
	}
	if snap.alerts, err = s.store.AlertCounts(ctx); err != nil {
		return snap, err
	}
	snap.hosts, snap.online, err = s.store.CountHosts(ctx, time.Now().Add(-5*time.Minute))
	return snap, err
}

// serveMetrics answers GET /metrics in the Prometheus text format.
func (s *server) serveMetrics(w http.ResponseWriter, r *http.Request) error {
	snap, err := s.metricsSnapshot(r.Context())
	if err != nil {
		return err
	}
	counters := prometheus.NewRegistry()
	counters.MustRegister(&metricsCollector{s: s, snap: snap})
	promhttp.HandlerFor(prometheus.Gatherers{s.metrics.process, counters}, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	return nil
}

// An metricsCollector is the metrics of one snapshot.
type metricsCollector struct {
	s    *server
	snap metricsData
}

// Describe implements prometheus.Collector. It describes nothing: the metrics
// are checked when they are collected.
func (e *metricsCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (e *metricsCollector) Collect(out chan<- prometheus.Metric) {
	labelled := func(name, help string, kind prometheus.ValueType, label, value string, v float64) {
		var labels prometheus.Labels
		if label != "" {
			labels = prometheus.Labels{label: value}
		}
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, labels), kind, v)
	}
	gauge := func(name, help string, v float64) { labelled(name, help, prometheus.GaugeValue, "", "", v) }
	counter := func(name, help string, v float64) { labelled(name, help, prometheus.CounterValue, "", "", v) }
	s, q, t := e.s, e.snap.queue, e.snap.totals
	flow, work := api.NewFlow(q, t), s.worker.Metrics()
	rules, loaded := s.rules.Status()
	open, closed := s.connLimiter.Counts()

	labelled("picket_build_info", "The version, as a label.", prometheus.GaugeValue, "version", version, 1)
	gauge("picket_start_time_seconds", "When the process started.", float64(s.start.Unix()))
	for outcome, n := range map[string]int64{"received": flow.Received, "stored": flow.Stored, "duplicate": flow.Duplicate, "rejected": flow.Rejected, "dead": flow.Dead} {
		labelled("picket_events_total", "Events by outcome; received is the sum of the others and picket_events_waiting.",
			prometheus.CounterValue, "outcome", outcome, float64(n))
	}
	counter("picket_events_conflicting_total", "Duplicates that had other content than the event stored with their identity.", float64(flow.Conflicting))
	gauge("picket_events_waiting", "Events in the queue.", float64(flow.Waiting))
	gauge("picket_events_kept", "Events in the store.", float64(t.Events))
	gauge("picket_store_raw_bytes", "Bytes of the stored events, as received.", float64(t.RawBytes))
	gauge("picket_store_disk_bytes", "Bytes of the store on disk.", float64(t.DiskBytes))
	counter("picket_legacy_dropped_events_total", "Events of legacy agents dropped because the queue was full.", float64(s.legacyQueue.DroppedEvents()))
	counter("picket_agent_dropped_events_total", "Events that agents report as lost because their spools were full or damaged.", float64(s.intake.AgentDroppedEvents()))
	counter("picket_other_host_events_total", "Events of agents that name another host than their tokens are bound to.", float64(s.intake.OtherHostEvents()))
	gauge("picket_legacy_waiting_requests", "Requests of legacy agents that wait for room in the queue.", float64(s.legacyQueue.WaitingRequests()))
	counter("picket_tokens_unconfirmed_total", "Requests with tokens that were accepted while the store could not confirm them.", float64(s.tokens.Unconfirmed()))
	for state, n := range map[string]int64{"pending": q.Pending, "leased": q.Leased, "dead": q.Dead} {
		labelled("picket_queue_messages", "Messages in the queue by state.", prometheus.GaugeValue, "state", state, float64(n))
	}
	gauge("picket_queue_bytes", "Bytes in the queue.", float64(q.Bytes))
	gauge("picket_queue_max_bytes", "Bytes at which the queue is full.", float64(q.MaxBytes))
	gauge("picket_queue_oldest_age_seconds", "Age of the oldest message.", q.OldestAge)
	counter("picket_matches_total", "Matches stored.", float64(t.Matches))
	counter("picket_detect_seconds_total", "Time that workers of this process spent detecting.", work.DetectTime.Seconds())
	counter("picket_save_seconds_total", "Time that workers of this process spent saving.", work.SaveTime.Seconds())
	for _, level := range []string{"informational", "low", "medium", "high", "critical"} {
		labelled("picket_open_alerts", "Alerts not closed, by level.", prometheus.GaugeValue, "level", level, float64(e.snap.alerts.Open[level]))
	}
	gauge("picket_hosts", "Hosts known.", float64(e.snap.hosts))
	gauge("picket_hosts_online", "Hosts seen in the last five minutes.", float64(e.snap.online))
	gauge("picket_rules", "Rules enabled.", float64(rules.Rules.Len()))
	gauge("picket_rule_problems", "Rules that did not load.", float64(len(rules.Problems)))
	gauge("picket_rules_loaded_time_seconds", "When the rules were loaded.", float64(loaded.Unix()))
	checked, failed := s.rules.Engine().SelfChecks()
	counter("picket_match_checks_total", "Events evaluated a second time without the index, as a self-check.", float64(checked))
	counter("picket_match_check_failures_total", "Self-checks whose results differed: an error in picket.", float64(failed))
	gauge("picket_correlation_observations", "Events kept for correlations, if this process runs them.", float64(s.correlations.KeptObservations()))
	counter("picket_correlation_dropped_total", "Events dropped from correlations because their memory was full.", float64(s.correlations.DroppedObservations()))
	gauge("picket_connections", "Connections open.", float64(open))
	counter("picket_connections_closed_for_room_total", "Connections closed to make room for new ones.", float64(closed))
}
