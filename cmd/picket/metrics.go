package main

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/picket-edr/picket/internal/api"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
	"github.com/picket-edr/picket/internal/ruleset"
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

// A metricsSnapshot is what the queue and the store count at one time. A part that does
// not answer has an error, and its metrics are left out.
type metricsSnapshot struct {
	queue    queue.Stats
	queueErr error

	totals        store.Totals
	alerts        store.AlertCounts
	hosts, online int64
	storeErr      error

	diskFree int64 // bytes
	diskErr  error

	buffer *queue.Stats // of the disk buffer; nil if there is none
}

// metricsTimeout bounds how long a scrape waits for the queue and the store. Prometheus
// waits for ten seconds by default.
const metricsTimeout = 5 * time.Second

func (s *server) metricsSnapshot(ctx context.Context) *metricsSnapshot {
	ctx, cancel := context.WithTimeout(ctx, metricsTimeout)
	defer cancel()
	var snap metricsSnapshot
	var reading sync.WaitGroup
	reading.Go(func() { snap.queue, snap.queueErr = s.queue.Stats(ctx) })
	reading.Go(func() { snap.storeErr = snap.readStore(ctx, s.store) })
	snap.diskFree, snap.diskErr = sqlitequeue.FreeDiskBytes(s.f.data)
	if s.queue.buffer != nil {
		if st, err := s.queue.buffer.BufferStats(ctx); err == nil {
			snap.buffer = &st
		}
	}
	reading.Wait()
	return &snap
}

func (m *metricsSnapshot) readStore(ctx context.Context, s store.Store) (err error) {
	if m.totals, err = s.Totals(ctx); err != nil {
		return err
	}
	if m.alerts, err = s.AlertCounts(ctx); err != nil {
		return err
	}
	m.hosts, m.online, err = s.CountHosts(ctx, time.Now().Add(-5*time.Minute))
	return err
}

// serveMetrics answers GET /metrics in the Prometheus text format.
func (s *server) serveMetrics(w http.ResponseWriter, r *http.Request) error {
	snapshot := prometheus.NewRegistry()
	snapshot.MustRegister(&metricsCollector{s: s, snap: s.metricsSnapshot(r.Context())})
	promhttp.HandlerFor(prometheus.Gatherers{s.metrics.process, snapshot}, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	return nil
}

// A metricsCollector is the metrics of one snapshot.
type metricsCollector struct {
	s    *server
	snap *metricsSnapshot
}

// Describe implements prometheus.Collector. It describes nothing: the metrics
// are checked when they are collected.
func (e *metricsCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (e *metricsCollector) Collect(out chan<- prometheus.Metric) {
	m := metricsWriter(out)
	if e.snap.queueErr == nil {
		e.writeQueue(m)
	}
	if e.snap.storeErr == nil {
		e.writeStore(m)
	}
	if e.snap.queueErr == nil && e.snap.storeErr == nil {
		e.writeEventOutcomes(m)
	}
	e.writeDisk(m)
	e.writeIntake(m)
	e.writeServerState(m)
}

// A metricsWriter writes metrics.
type metricsWriter chan<- prometheus.Metric

func (out metricsWriter) labelled(name, help string, kind prometheus.ValueType, label, value string, v float64) {
	var labels prometheus.Labels
	if label != "" {
		labels = prometheus.Labels{label: value}
	}
	out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, labels), kind, v)
}

func (out metricsWriter) gauge(name, help string, v float64) {
	out.labelled(name, help, prometheus.GaugeValue, "", "", v)
}

func (out metricsWriter) counter(name, help string, v float64) {
	out.labelled(name, help, prometheus.CounterValue, "", "", v)
}

func (e *metricsCollector) writeQueue(m metricsWriter) {
	q := e.snap.queue
	for state, n := range map[string]int64{"pending": q.Pending, "leased": q.Leased, "dead": q.Dead} {
		m.labelled("picket_queue_messages", "Messages in the queue by state.", prometheus.GaugeValue, "state", state, float64(n))
	}
	m.gauge("picket_queue_bytes", "Bytes in the queue.", float64(q.Bytes))
	m.gauge("picket_queue_max_bytes", "Bytes at which the queue is full.", float64(q.MaxBytes))
	m.gauge("picket_queue_oldest_age_seconds", "Age of the oldest message.", q.OldestAge)
}

func (e *metricsCollector) writeStore(m metricsWriter) {
	t := e.snap.totals
	m.gauge("picket_events_kept", "Events in the store.", float64(t.Events))
	m.gauge("picket_store_raw_bytes", "Bytes of the stored events, as received.", float64(t.RawBytes))
	m.gauge("picket_store_damaged_blocks", "Blocks of events that cannot be read and are left out.", float64(t.DamagedBlocks))
	m.gauge("picket_store_damaged_events", "Events in damaged blocks.", float64(t.DamagedEvents))
	m.gauge("picket_store_disk_bytes", "Bytes of the store on disk.", float64(t.DiskBytes))
	m.counter("picket_matches_total", "Matches stored.", float64(t.Matches))
	for _, level := range []string{"informational", "low", "medium", "high", "critical"} {
		m.labelled("picket_open_alerts", "Alerts not closed, by level.", prometheus.GaugeValue, "level", level, float64(e.snap.alerts.Open[level]))
	}
	m.gauge("picket_hosts", "Hosts known.", float64(e.snap.hosts))
	m.gauge("picket_hosts_online", "Hosts seen in the last five minutes.", float64(e.snap.online))
}

// writeEventOutcomes writes what needs both the queue and the store.
func (e *metricsCollector) writeEventOutcomes(m metricsWriter) {
	outcomes := api.NewEventTotals(e.snap.queue, e.snap.totals)
	for outcome, n := range map[string]int64{"received": outcomes.Received, "stored": outcomes.Stored, "duplicate": outcomes.Duplicate, "rejected": outcomes.Rejected, "dead": outcomes.Dead} {
		m.labelled("picket_events_total", "Events by outcome; received is the sum of the others and picket_events_waiting.",
			prometheus.CounterValue, "outcome", outcome, float64(n))
	}
	m.counter("picket_events_conflicting_total", "Duplicates that had other content than the event stored with their identity.", float64(outcomes.Conflicting))
	m.gauge("picket_events_waiting", "Events in the queue.", float64(outcomes.Waiting))
}

func (e *metricsCollector) writeDisk(m metricsWriter) {
	if e.snap.diskErr == nil {
		m.gauge("picket_disk_free_bytes", "Bytes free on the disk of the data directory.", float64(e.snap.diskFree))
	}
	m.gauge("picket_disk_min_free_bytes", "With less free than this, telemetry is refused (--min-free-disk).", float64(e.s.f.minFree))
	if b := e.snap.buffer; b != nil {
		m.gauge("picket_disk_buffer_batches", "Batches on the disk that wait until the queue is reachable.", float64(b.Pending+b.Leased))
		m.gauge("picket_disk_buffer_events", "Events of these batches.", float64(b.PendingEvents+b.LeasedEvents))
		m.gauge("picket_disk_buffer_bytes", "Bytes of these batches.", float64(b.Bytes))
		m.gauge("picket_disk_buffer_max_bytes", "Bytes at which the disk buffer is full.", float64(b.MaxBytes))
		m.gauge("picket_disk_buffer_oldest_age_seconds", "Age of the oldest of these batches.", b.OldestAge)
	}
}

func (e *metricsCollector) writeIntake(m metricsWriter) {
	s := e.s
	for cause, n := range s.intake.RefusedRequests() {
		m.labelled("picket_intake_refused_total", "Telemetry requests that were refused, by cause.", prometheus.CounterValue, "cause", cause, float64(n))
	}
	m.counter("picket_legacy_dropped_events_total", "Events of legacy agents dropped because the queue was full.", float64(s.legacyQueue.DroppedEvents()))
	m.gauge("picket_legacy_waiting_requests", "Requests of legacy agents that wait for room in the queue.", float64(s.legacyQueue.WaitingRequests()))
	m.counter("picket_agent_dropped_events_total", "Events that agents report as lost because their spools were full or damaged.", float64(s.intake.AgentDroppedEvents()))
	m.counter("picket_other_host_events_total", "Events of agents that name another host than their tokens are bound to.", float64(s.intake.OtherHostEvents()))
	m.counter("picket_tokens_unconfirmed_total", "Requests with tokens that were accepted while the store could not confirm them.", float64(s.tokens.Unconfirmed()))
}

func (e *metricsCollector) writeServerState(m metricsWriter) {
	s, work := e.s, e.s.worker.Metrics()
	rules, loaded := s.rules.Status()
	open, closed := s.connLimiter.Counts()
	m.labelled("picket_build_info", "The version, as a label.", prometheus.GaugeValue, "version", version, 1)
	m.gauge("picket_start_time_seconds", "When the process started.", float64(s.start.Unix()))
	for part, err := range map[string]error{"queue": e.snap.queueErr, "store": e.snap.storeErr} {
		reachable := 1.0
		if err != nil {
			reachable = 0
		}
		m.labelled("picket_reachable", "1 if the queue, or the store, answers. If it does not, its metrics are missing.", prometheus.GaugeValue, "part", part, reachable)
	}
	m.counter("picket_detect_seconds_total", "Time that workers of this process spent detecting.", work.DetectTime.Seconds())
	m.counter("picket_save_seconds_total", "Time that workers of this process spent saving.", work.SaveTime.Seconds())
	n := ruleset.CountKinds(rules.Enabled)
	m.gauge("picket_rules", "Rules enabled.", float64(n.Rules))
	m.gauge("picket_rule_correlations", "Correlations enabled.", float64(n.Correlations))
	m.gauge("picket_rule_filters", "Filters enabled.", float64(n.Filters))
	m.gauge("picket_rule_problems", "Rules that did not load.", float64(len(rules.Problems)))
	m.gauge("picket_rule_files_in_earlier_version", "Rule files of which an earlier version runs, because the present one does not load.", float64(rules.FilesInEarlierVersion()))
	m.gauge("picket_rules_loaded_time_seconds", "When the rules were loaded.", float64(loaded.Unix()))
	checked, failed := s.rules.Engine().SelfChecks()
	m.counter("picket_match_checks_total", "Events evaluated a second time without the index, as a self-check.", float64(checked))
	m.counter("picket_match_check_failures_total", "Self-checks whose results differed: an error in picket.", float64(failed))
	m.gauge("picket_correlation_observations", "Events kept for correlations, if this process runs them.", float64(s.correlations.KeptObservations()))
	m.counter("picket_correlation_dropped_total", "Events dropped from correlations because their memory was full.", float64(s.correlations.DroppedObservations()))
	m.gauge("picket_connections", "Connections open.", float64(open))
	m.counter("picket_connections_closed_for_room_total", "Connections closed to make room for new ones.", float64(closed))
}
