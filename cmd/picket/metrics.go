package main

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/picket-edr/picket/internal/api"
)

// An exposition is text in Prometheus' format, version 0.0.4.
type exposition struct{ strings.Builder }

func (e *exposition) add(name, kind, help string, value any, labels ...string) {
	if help != "" {
		fmt.Fprintf(e, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	}
	if len(labels) == 2 {
		name = fmt.Sprintf("%s{%s=%q}", name, labels[0], labels[1])
	}
	fmt.Fprintf(e, "%s %v\n", name, value)
}

// metrics answers the counters. It needs no credentials, as scrapers have
// none, and tells nothing of any host: names of agents, rules or hosts are no
// labels.
func (s *server) metrics(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	q, err := s.queue.Stats(ctx)
	if err != nil {
		return err
	}
	t, err := s.store.Totals(ctx)
	if err != nil {
		return err
	}
	counts, err := s.store.AlertCounts(ctx)
	if err != nil {
		return err
	}
	hosts, online, err := s.store.CountHosts(ctx, time.Now().Add(-5*time.Minute))
	if err != nil {
		return err
	}
	flow, work := api.NewFlow(q, t), s.work.Metrics()
	set, loaded := s.rules.Status()
	open, turnedAway := s.conns.Counts()

	var e exposition
	e.add("picket_build_info", "gauge", "The version, as a label.", 1, "version", version)
	e.add("picket_start_time_seconds", "gauge", "When the process started.", s.start.Unix())
	const events = "picket_events_total"
	e.add(events, "counter", "Events by what became of them; received is the sum of the others and picket_events_waiting.", flow.Received, "outcome", "received")
	e.add(events, "", "", flow.Stored, "outcome", "stored")
	e.add(events, "", "", flow.Duplicate, "outcome", "duplicate")
	e.add(events, "", "", flow.Rejected, "outcome", "rejected")
	e.add(events, "", "", flow.Dead, "outcome", "dead")
	e.add("picket_events_waiting", "gauge", "Events in the queue.", flow.Waiting)
	e.add("picket_events_kept", "gauge", "Events in the store.", t.Events)
	e.add("picket_store_raw_bytes", "gauge", "Bytes of the events kept, as received.", t.RawBytes)
	e.add("picket_store_disk_bytes", "gauge", "Bytes of the store on disk.", t.DiskBytes)
	e.add("picket_legacy_dropped_events_total", "counter", "Events given up for want of room, of agents that cannot keep them.", s.waiting.Dropped())
	e.add("picket_agent_dropped_events_total", "counter", "Events that agents say they dropped, their spools being full.", s.in.AgentDropped())
	e.add("picket_legacy_waiting_requests", "gauge", "Requests of such agents that wait for room.", s.waiting.Waiting())
	e.add("picket_queue_messages", "gauge", "Messages in the queue by state.", q.Pending, "state", "pending")
	e.add("picket_queue_messages", "", "", q.Leased, "state", "leased")
	e.add("picket_queue_messages", "", "", q.Dead, "state", "dead")
	e.add("picket_queue_bytes", "gauge", "Bytes in the queue.", q.Bytes)
	e.add("picket_queue_max_bytes", "gauge", "Bytes at which the queue is full.", q.MaxBytes)
	e.add("picket_queue_oldest_age_seconds", "gauge", "Age of the oldest message.", q.OldestAge)
	e.add("picket_matches_total", "counter", "Matches stored.", t.Matches)
	e.add("picket_detect_seconds_total", "counter", "Time that workers spent detecting.", work.DetectTime.Seconds())
	e.add("picket_save_seconds_total", "counter", "Time that workers spent saving.", work.SaveTime.Seconds())
	for i, level := range []string{"informational", "low", "medium", "high", "critical"} {
		help := ""
		if i == 0 {
			help = "Alerts not closed, by level."
		}
		e.add("picket_open_alerts", "gauge", help, counts.Open[level], "level", level)
	}
	e.add("picket_hosts", "gauge", "Hosts known.", hosts)
	e.add("picket_hosts_online", "gauge", "Hosts seen in the last five minutes.", online)
	e.add("picket_rules", "gauge", "Rules that run.", set.Rules.Len())
	e.add("picket_rule_problems", "gauge", "Rules that did not load.", len(set.Problems))
	e.add("picket_rules_loaded_time_seconds", "gauge", "When the rules were loaded.", loaded.Unix())
	checked, wrong := s.rules.Engine().Checks()
	e.add("picket_match_checks_total", "counter", "Events matched a second time, without an index.", checked)
	e.add("picket_match_check_failures_total", "counter", "Of these, those that came out otherwise: an error in picket.", wrong)
	e.add("picket_correlation_observations", "gauge", "Events kept for correlations by this process, while it follows.", s.corr.Kept())
	e.add("picket_correlation_dropped_total", "counter", "Such events given up for want of room.", s.corr.Dropped())
	e.add("picket_connections", "gauge", "Connections open.", open)
	e.add("picket_connections_closed_for_room_total", "counter", "Connections closed to make room for others.", turnedAway)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	e.add("go_memstats_heap_alloc_bytes", "gauge", "Heap in use.", m.HeapAlloc)
	e.add("go_memstats_sys_bytes", "gauge", "Memory taken from the system.", m.Sys)
	e.add("go_goroutines", "gauge", "Goroutines.", runtime.NumGoroutine())
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Write([]byte(e.String()))
	return nil
}
