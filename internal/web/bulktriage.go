package web

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/triage"
)

// maxBulkFormBytes bounds the form of a change of several alerts: the ids of
// triage.MaxAlertsPerUpdate alerts, and the longest note, escaped.
const maxBulkFormBytes = 256 << 10

// A bulkChange is a change of several alerts as the form has it.
type bulkChange struct {
	Status, Assignee, Note string // "": not changed
}

// update returns the change as an update of the store.
func (b bulkChange) update() store.AlertUpdate {
	u := store.AlertUpdate{Note: b.Note}
	if b.Status != "" {
		status := picket.AlertStatus(b.Status)
		u.Status = &status
	}
	if b.Assignee != "" {
		assignee := strings.TrimPrefix(b.Assignee, nobody)
		u.Assignee = &assignee
	}
	return u
}

// updateAlerts changes the alerts that the form names. For those that the filter of the
// list selects, it first shows what would be changed.
func (c *Console) updateAlerts(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxBulkFormBytes)
	if err := r.ParseForm(); err != nil {
		return httpapi.Errorf(http.StatusBadRequest, "read the form: %v", err)
	}
	change := bulkChange{r.PostForm.Get("set_status"), r.PostForm.Get("set_assignee"), r.PostForm.Get("note")}
	u := change.update()
	switch {
	case u.Status == nil && u.Assignee == nil && u.Note == "":
		return fmt.Errorf("nothing to change: choose a status or an assignee, or write a note: %w", picket.ErrInvalid)
	case u.Assignee != nil:
		if err := c.Triage.CheckAssignee(r.Context(), *u.Assignee); err != nil {
			return err
		}
	}
	if r.PostForm.Get("scope") == "matching" {
		return c.confirmUpdate(w, r, who, change)
	}
	ids := r.PostForm["id"]
	if len(ids) == 0 {
		return fmt.Errorf("no alert is selected: %w", picket.ErrInvalid)
	}
	updated, failed, err := c.Triage.UpdateAlerts(r.Context(), who, ids, u)
	if err != nil {
		return err
	}
	if len(failed) == 0 {
		http.Redirect(w, r, r.URL.RequestURI(), http.StatusSeeOther)
		return nil
	}
	v := bulkFailureView{Self: r.URL.RequestURI(), Updated: updated}
	for _, f := range failed {
		v.Failed = append(v.Failed, bulkFailure{f.ID, httpapi.ClientMessage(f.Err)})
	}
	return c.render(w, http.StatusConflict, "bulkfailures.html", pageData{Title: "Alerts", Section: "alerts", Who: who, Page: v})
}

// A bulkFailureView lists the alerts that could not be changed.
type bulkFailureView struct {
	Self    string
	Updated int
	Failed  []bulkFailure
}

type bulkFailure struct{ ID, Reason string }

// A bulkConfirmView shows what a change of all alerts that a filter selects would change.
type bulkConfirmView struct {
	Self   string
	Change bulkChange
	IDs    []string
	More   bool // the filter selects further alerts
	Groups []alertGroup
	Hidden int // groups that are not shown
}

// An alertGroup is the alerts of a title.
type alertGroup struct {
	Level, Title string
	Alerts       int
}

// maxShownGroups bounds the groups on the page.
const maxShownGroups = 20

// confirmUpdate asks whether the alerts that the filter selects now are to be changed.
func (c *Console) confirmUpdate(w http.ResponseWriter, r *http.Request, who auth.Identity, change bulkChange) error {
	q, err := alertFilterOf(r.URL.Query()).query(c.Now())
	if err != nil {
		return err
	}
	v := bulkConfirmView{Self: r.URL.RequestURI(), Change: change}
	if err := v.selectAlerts(r.Context(), c.Store, q); err != nil {
		return err
	}
	if len(v.IDs) == 0 {
		return fmt.Errorf("the filter selects no alert: %w", picket.ErrInvalid)
	}
	return c.render(w, http.StatusOK, "bulkconfirm.html", pageData{Title: "Alerts", Section: "alerts", Who: who, Page: v})
}

// selectAlerts sets what the page shows of the newest alerts that q selects.
func (v *bulkConfirmView) selectAlerts(ctx context.Context, s Store, q store.AlertQuery) error {
	groups := make(map[alertGroup]int)
	for {
		q.Limit = triage.MaxAlertsPerUpdate - len(v.IDs)
		page, err := s.Alerts(ctx, q)
		if err != nil {
			return err
		}
		for i := range page.Alerts {
			a := &page.Alerts[i]
			v.IDs = append(v.IDs, a.ID)
			groups[alertGroup{Level: a.Level.String(), Title: a.Title}]++
		}
		q.Cursor = page.Next
		if v.More = q.Cursor != ""; !v.More || len(v.IDs) == triage.MaxAlertsPerUpdate {
			break
		}
	}
	v.Groups = slices.SortedFunc(maps.Keys(groups), func(a, b alertGroup) int {
		if n := groups[b] - groups[a]; n != 0 {
			return n
		}
		return strings.Compare(a.Title, b.Title)
	})
	v.Hidden = max(0, len(v.Groups)-maxShownGroups)
	v.Groups = v.Groups[:len(v.Groups)-v.Hidden]
	for i := range v.Groups {
		v.Groups[i].Alerts = groups[v.Groups[i]]
	}
	return nil
}
