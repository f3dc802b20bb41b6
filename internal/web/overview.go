package web

import (
	"net/http"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/queue"
	"github.com/picket-edr/picket/internal/ruleset"
	"github.com/picket-edr/picket/internal/store"
)

// onlineTimeout is how long after its last event a host counts as online.
const onlineTimeout = 5 * time.Minute

type overviewView struct {
	Events        chart
	Alerts        chart
	Levels        []openByLevel
	Hosts, Online int64
	Queue         queue.Stats
	Totals        store.Totals
	Counts        store.AlertCounts
	Newest        []picket.Alert
	Rules         int
	Problems      int
}

type openByLevel struct {
	Level string
	Open  int64
}

// alertLevels are Sigma's levels, highest first.
var alertLevels = []string{"critical", "high", "medium", "low", "informational"}

// overviewMinutes is the length of the charts in minutes.
const overviewMinutes = 60

func (c *Console) overview(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	ctx, now := r.Context(), c.Now().UTC()
	end := now.Truncate(time.Minute).Add(time.Minute)
	start := end.Add(-overviewMinutes * time.Minute)
	minutes, err := c.Store.Activity(ctx, start, end)
	if err != nil {
		return err
	}
	var v overviewView
	v.Events = stackedChart(start, overviewMinutes, minutes, func(m store.MinuteCounts) map[string]int64 {
		sum := int64(0)
		for _, n := range m.Events {
			sum += n
		}
		return map[string]int64{"events": sum}
	}, []string{"events"})
	v.Alerts = stackedChart(start, overviewMinutes, minutes, func(m store.MinuteCounts) map[string]int64 { return m.Alerts }, alertLevels)
	if v.Counts, err = c.Store.AlertCounts(ctx); err != nil {
		return err
	}
	for _, l := range alertLevels {
		v.Levels = append(v.Levels, openByLevel{l, v.Counts.Open[l]})
	}
	if v.Hosts, v.Online, err = c.Store.CountHosts(ctx, now.Add(-onlineTimeout)); err != nil {
		return err
	}
	if v.Queue, err = c.Queue.Stats(ctx); err != nil {
		return err
	}
	if v.Totals, err = c.Store.Totals(ctx); err != nil {
		return err
	}
	page, err := c.Store.Alerts(ctx, store.AlertQuery{Status: []picket.AlertStatus{picket.StatusOpen, picket.StatusInvestigating}, Limit: 8})
	if err != nil {
		return err
	}
	v.Newest = page.Alerts
	set, _ := c.Rules.Status()
	v.Rules, v.Problems = ruleset.CountKinds(set.Enabled).Rules, len(set.Problems)
	return c.render(w, http.StatusOK, "overview.html", pageData{Title: "Overview", Section: "overview", Who: who, Live: true, Page: v})
}
