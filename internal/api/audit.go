package api

import (
	"net/http"
	"strconv"

	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
	"github.com/picket-edr/picket/internal/store"
)

// audit lists who did what.
func (s *Server) audit(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	q := queryParams{Values: r.URL.Query()}
	query := store.AuditQuery{Actor: q.Get("actor"), Action: q.Get("action"), Before: q.cursorNumber(), Limit: q.pageLimit()}
	if q.err != nil {
		return q.err
	}
	entries, err := s.Store.AuditEntries(r.Context(), query)
	if err != nil {
		return err
	}
	cursor := ""
	if len(entries) == query.Limit {
		cursor = strconv.FormatInt(entries[len(entries)-1].N, 10)
	}
	return httpapi.WriteJSON(w, http.StatusOK, map[string]any{"audit": nonNil(entries), "next": cursorOrNull(cursor)})
}
