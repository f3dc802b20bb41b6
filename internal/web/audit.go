package web

import (
	"net/http"
	"strconv"

	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/store"
)

type auditView struct {
	Actor, Action string
	Entries       []store.AuditEntry
	Next          string
}

func (c *Console) auditLog(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	q := r.URL.Query()
	before, _ := strconv.ParseInt(q.Get("cursor"), 10, 64)
	v := auditView{Actor: q.Get("actor"), Action: q.Get("action")}
	var err error
	v.Entries, err = c.Store.AuditEntries(r.Context(), store.AuditQuery{Actor: v.Actor, Action: v.Action, Before: max(before, 0), Limit: rowsPerPage})
	if err != nil {
		return err
	}
	if len(v.Entries) == rowsPerPage {
		v.Next = nextLink(r.URL, strconv.FormatInt(v.Entries[rowsPerPage-1].N, 10))
	}
	return c.render(w, http.StatusOK, "audit.html", pageData{Title: "Audit log", Section: "audit", Who: who, Page: v})
}
