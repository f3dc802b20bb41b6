package storetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
)

func testHosts(t *testing.T, s store.Store) {
	evs := plainEvents(t, 0, 10)
	for i := range evs {
		evs[i].AgentID = "agent-0"
	}
	evs[9].OS = "" // must not replace the known one
	saved := save(t, s, store.Batch{ID: "b1", Events: evs, Matches: []picket.Match{makeMatch("r", evs[0]), makeMatch("r2", evs[0])}})[0]
	want := store.Host{Name: "host-0", AgentID: "agent-0", OS: "linux", FirstSeen: evs[0].Received, LastSeen: evs[8].Received, Events: 5, Alerts: 2}
	checkEqual(t, "host", must[store.Host](t)(s.Host(t.Context(), want.Key())), want)

	closed := picket.StatusResolved
	updateAlert(t, s, saved.Opened[0].ID, store.AlertUpdate{Status: &closed, At: startTime})
	later := plainEvents(t, 10, 11)[0]
	later.AgentID = "agent-0"
	save(t, s, store.Batch{ID: "b2", Events: []picket.Event{later, evs[0]}})
	want.Alerts, want.Events, want.LastSeen = 1, 6, startTime.Add(70*time.Second)
	checkEqual(t, "later", must[store.Host](t)(s.Host(t.Context(), want.Key())), want)

	page := must[store.HostPage](t)(s.Hosts(t.Context(), "HOST-1", 0, ""))
	if len(page.Hosts) != 1 || page.Hosts[0].Name != "host-1" || page.Hosts[0].OS != "linux" {
		t.Errorf("by name: %+v", page)
	}
	total, online, err := s.CountHosts(t.Context(), startTime.Add(70*time.Second))
	if total != 2 || online != 1 || err != nil {
		t.Errorf("%d hosts, %d online, %v; want 2 and 1", total, online, err)
	}
	_, err = s.Host(t.Context(), store.HostKey{AgentID: "agent-0", Name: "nothing"})
	checkError(t, "an unknown host", err, picket.ErrNotFound)
}

// testHostsOfOneName has machines of two agents that have the same name.
func testHostsOfOneName(t *testing.T, s store.Store) {
	evs := plainEvents(t, 0, 5)
	for i := range evs {
		evs[i].Host, evs[i].AgentID, evs[i].Received = "dc01", fmt.Sprint("agent-", i%2), startTime
	}
	evs[1].OS = "windows"
	evs[3].OS = "windows"
	saved := save(t, s, store.Batch{ID: "b1", Events: evs, Matches: []picket.Match{makeMatch("r", evs[1]), makeMatch("r2", evs[1]), makeMatch("r", evs[0])}})[0]
	want := []store.Host{
		{Name: "dc01", AgentID: "agent-1", OS: "windows", FirstSeen: startTime, LastSeen: startTime, Events: 2, Alerts: 2},
		{Name: "dc01", AgentID: "agent-0", OS: "linux", FirstSeen: startTime, LastSeen: startTime, Events: 3, Alerts: 1},
	}
	list := func() (got []store.Host) {
		for cursor := ""; ; {
			page := must[store.HostPage](t)(s.Hosts(t.Context(), "dc", 1, cursor))
			got = append(got, page.Hosts...)
			if cursor = page.Next; cursor == "" {
				return got
			}
		}
	}
	checkEqual(t, "hosts", list(), want)
	closed := picket.StatusResolved
	for _, a := range saved.Opened {
		if a.AgentID == "agent-1" && a.RuleID == "r" {
			updateAlert(t, s, a.ID, store.AlertUpdate{Status: &closed, At: startTime})
		}
	}
	want[0].Alerts = 1
	checkEqual(t, "hosts after an alert was closed", list(), want)
}

func testHostPaging(t *testing.T, s store.Store) {
	evs := plainEvents(t, 0, 25)
	var want []string
	for i := range evs {
		evs[i].Host = fmt.Sprintf("m%02d", i)
		evs[i].Received = startTime // the same for all: the order must still be total
	}
	save(t, s, store.Batch{ID: "b1", Events: evs})
	seen := make(map[string]bool)
	for cursor := ""; ; {
		page := must[store.HostPage](t)(s.Hosts(t.Context(), "", 4, cursor))
		for _, h := range page.Hosts {
			if seen[h.Name] {
				t.Errorf("host %s is on two pages", h.Name)
			}
			seen[h.Name] = true
			want = append(want, h.Name)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if len(want) != 25 {
		t.Errorf("%d hosts, want 25", len(want))
	}
}

// testManyHosts saves batches in which every event is from another host,
// concurrently.
func testManyHosts(t *testing.T, s store.Store) {
	const hosts, batches = 250, 4
	var work sync.WaitGroup
	for b := range batches {
		work.Go(func() {
			evs := plainEvents(t, b*hosts, (b+1)*hosts)
			for i := range evs {
				evs[i].Host, evs[i].AgentID = fmt.Sprintf("m%03d", i), "agent-0"
			}
			if _, err := s.Save(t.Context(), store.Batch{ID: fmt.Sprint("b", b), Events: evs}); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	total, _, err := s.CountHosts(t.Context(), startTime)
	if total != hosts || err != nil {
		t.Errorf("%d hosts, %v; want %d", total, err, hosts)
	}
	h := must[store.Host](t)(s.Host(t.Context(), store.HostKey{AgentID: "agent-0", Name: "m007"}))
	if h.Events != batches {
		t.Errorf("a host has %d events, want %d", h.Events, batches)
	}
}
