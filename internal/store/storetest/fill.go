package storetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/sigma"
)

// rulesInFillAlerts is the number of rules in FillAlerts.
const rulesInFillAlerts = 1000

// FillAlerts saves n events, each of which opens an alert of one of 1,000 rules in
// the hour before now. The levels are distributed as is usual: few are critical.
// One alert in a hundred is triaged, into the various statuses.
func FillAlerts(tb testing.TB, s store.Store, n int, now time.Time) {
	tb.Helper()
	const batch, workers = 1000, 4
	levels := []sigma.Level{sigma.Medium, sigma.Low, sigma.High, sigma.Medium, sigma.Informational, sigma.Medium, sigma.High, sigma.Low}
	work := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for at := range work {
				b := store.Batch{ID: fmt.Sprint("fill-", at)}
				for i := at; i < min(at+batch, n); i++ {
					rule, host := i%rulesInFillAlerts, fmt.Sprintf("ws-%05d", i/rulesInFillAlerts)
					when := now.Add(time.Duration(i-n) * time.Hour / time.Duration(n)).Truncate(time.Microsecond)
					level := levels[rule%len(levels)]
					if rule%100 == 0 {
						level = sigma.Critical
					}
					e := picket.Event{ID: fmt.Sprintf("fill-%09d", i), AgentID: host, Host: host, Type: "process", OS: "windows", Time: when, Received: when,
						Raw: fmt.Appendf(nil, `{"event_type":"process","process":{"pid":%d}}`, i)}
					r := fmt.Sprintf("00000000-0000-4000-8000-%012d", rule)
					b.Events = append(b.Events, e)
					b.Matches = append(b.Matches, picket.Match{ID: picket.MatchID(r, e.ID), RuleID: r, EventID: e.ID, AgentID: host, Host: host,
						Title: fmt.Sprint("Something That Rule ", rule, " Is About"), Level: level, Time: when})
				}
				saved, err := s.Save(tb.Context(), b)
				if err != nil {
					tb.Error(err)
					continue
				}
				triageEveryHundredth(tb, s, saved[0].Opened)
			}
		})
	}
	for at := 0; at < n; at += batch {
		work <- at
	}
	close(work)
	wg.Wait()
}

// triageEveryHundredth gives one alert in a hundred another status, concurrently.
func triageEveryHundredth(tb testing.TB, s store.Store, opened []picket.Alert) {
	statuses := []picket.AlertStatus{picket.StatusResolved, picket.StatusInvestigating, picket.StatusFalsePositive}
	var wg sync.WaitGroup
	for i := 0; i < len(opened); i += 100 {
		wg.Go(func() {
			status := statuses[i/100%len(statuses)]
			if _, err := s.UpdateAlert(tb.Context(), opened[i].ID, store.AlertUpdate{Status: &status, Author: "fill", At: opened[i].Opened}); err != nil {
				tb.Error(err)
			}
		})
	}
	wg.Wait()
}
